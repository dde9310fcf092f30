"""A gRPC service and its client, without generated code: messages are bytes.

Usage: grpc_service.py serve PORT NAME
       grpc_service.py call ADDRESS
"""

import os
import sys

sys.path.extend(os.environ.get("GRPC_PATH", "").split(os.pathsep))

import queue
import threading
from concurrent import futures

import grpc

SERVICE = "muster.Test"
PATIENCE_S = 30


def echo(request, context):
    context.set_trailing_metadata((("x-name", sys.argv[3]), ("x-bytes", str(len(request)))))
    return request


def refuse(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")


def chat(requests, context):
    for request in requests:
        yield b"re: " + request


def count(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def wait(request, context):
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(PATIENCE_S)
    return b""


def serve(port):
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port("127.0.0.1:" + port)
    server.start()
    server.wait_for_termination()


def call(address):
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options=options) as channel:
        method = lambda kind, name: getattr(channel, kind)("/%s/%s" % (SERVICE, name))
        unary = method("unary_unary", "Echo")
        for body in (b"", b"hello", bytes(1_000_000)):
            answer, made = unary.with_call(body, timeout=PATIENCE_S)
            assert answer == body
            assert dict(made.trailing_metadata())["x-bytes"] == str(len(body))
        at_once = [unary.future(b"%d" % number, timeout=PATIENCE_S) for number in range(300)]
        assert [made.result() for made in at_once] == [b"%d" % number for number in range(300)]
        print("unary")

        try:
            method("unary_unary", "Refuse")(b"", timeout=PATIENCE_S)
            raise AssertionError("it is refused")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
            assert error.details() == "not now", error
        print("status")

        numbers = list(method("unary_stream", "Count")(b"5000", timeout=PATIENCE_S))
        assert numbers == [b"%d" % number for number in range(5000)]
        print("server stream")

        # Each message waits for the answer to the one before: both directions must flow at once.
        asked = queue.Queue()
        answers = method("stream_stream", "Chat")(iter(asked.get, None), timeout=PATIENCE_S)
        for number in range(100):
            asked.put(b"%d" % number)
            assert next(answers) == b"re: %d" % number
        asked.put(None)
        assert list(answers) == []
        print("both streams")

        try:
            method("unary_unary", "Wait")(b"", timeout=0.3)
            raise AssertionError("it takes too long")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        assert unary(b"again", timeout=PATIENCE_S) == b"again"
        print("deadline")


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    call(sys.argv[2])
