"""LocalStack's server, reachable from this machine only.

LocalStack binds every IPv4 address whatever GATEWAY_LISTEN says. Its listening sockets are made through one class of
Twisted's, which is told here to use the loopback address.
"""

from twisted.internet import endpoints


class LoopbackEndpoint(endpoints.TCP4ServerEndpoint):
    def __init__(self, reactor, port, backlog=50, interface="127.0.0.1"):
        super().__init__(reactor, port, backlog, interface)


endpoints.TCP4ServerEndpoint = LoopbackEndpoint

if __name__ == "__main__":
    from localstack.runtime.main import main

    main()
