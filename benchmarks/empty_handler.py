"""The baseline of fast_path: a grpc.aio server whose RecommendCovers returns one ready message at once."""

import asyncio
import sys
from pathlib import Path

import grpc
from eyecatch.v1 import covers_pb2, covers_pb2_grpc


class Empty(covers_pb2_grpc.CoversServiceServicer):
    def __init__(self, response: covers_pb2.RecommendCoversResponse) -> None:
        self._response = response

    async def RecommendCovers(self, request, context):  # type: ignore[no-untyped-def]
        return self._response


async def main(path: Path) -> None:
    server = grpc.aio.server()
    response = covers_pb2.RecommendCoversResponse.FromString(path.read_bytes())
    covers_pb2_grpc.add_CoversServiceServicer_to_server(Empty(response), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"eyecatch ready on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
