"""aioftp, as its manual starts it."""

import asyncio
import json
import sys

import aioftp

about = json.loads(sys.argv[1])


async def main():
    user = aioftp.User(about["user"], about["password"], base_path=about["root"], home_path="/")
    server = aioftp.Server([user], encoding=about["encoding"])
    await server.run("127.0.0.1", about["port"])


asyncio.run(main())
