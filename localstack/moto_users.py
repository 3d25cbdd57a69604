"""Gives a fresh moto server its users, and prints their keys as shell assignments.

moto was started with INITIAL_NO_AUTH_ACTION_COUNT=3: the first three calls are not checked, and make an
administrator. Everything after them is signed and judged like in the cloud.
"""

import json
import sys

import boto3
from botocore.config import Config

USERS = {
    # What an auditor needs.
    "reader": ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetObject", "s3:GetObjectVersion", "s3:GetBucketLocation"],
    # May read objects it knows, but not see which there are.
    "nolist": ["s3:GetObject"],
    # May do nothing at all.
    "nobody": [],
}


def make(iam, user, actions):
    iam.create_user(UserName=user)
    if actions:
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        iam.put_user_policy(UserName=user, PolicyName=user, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=user)["AccessKey"]
    for name, field in (("KEY_ID", "AccessKeyId"), ("SECRET", "SecretAccessKey")):
        print(f"WALPROOF_MOTO_{user.upper()}_{name}={key[field]}")
    return key


def client(url, key_id, secret):
    # No retries: each would count as one of the three calls.
    return boto3.client(
        "iam",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def main():
    url = sys.argv[1]
    admin = make(client(url, "unchecked", "unchecked"), "admin", ["*"])
    iam = client(url, admin["AccessKeyId"], admin["SecretAccessKey"])
    for user, actions in USERS.items():
        make(iam, user, actions)


main()
