"""asynchronous.py LOG: asyncio with subprocesses, pipes, timers, threads, and a server on a Unix socket."""

import asyncio
import os
import sys


async def shell(number):
    command = f"read -r line; sleep 0.0{number % 5}; echo $((line * {number})); exit {number % 3}"
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_shell(command, stdin=pipe, stdout=pipe)
    out, _ = await child.communicate(f"{number + 1}\n".encode())
    return number, int(out), child.returncode


async def serve(reader, writer):
    while line := await reader.readline():
        await asyncio.sleep(0.01)
        writer.write(line.upper())
        await writer.drain()
    writer.close()


async def ask(number):
    reader, writer = await asyncio.open_unix_connection("server")
    answers = []
    for step in range(20):
        writer.write(f"client {number} step {step}\n".encode())
        answers.append(await reader.readline())
    writer.close()
    return b"".join(answers).decode()


async def main():
    log = open(sys.argv[1], "w")
    if os.path.exists("server"):
        os.remove("server")
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.05)
            ticks += 1

    ticker = asyncio.create_task(tick())
    for step in range(35):
        results = await asyncio.gather(*[shell(step * 4 + number) for number in range(4)])
        thread = await asyncio.to_thread(sum, range(step * 1000))
        print("step", step, results, thread, file=log, flush=True)
    server = await asyncio.start_unix_server(serve, "server")
    for text in await asyncio.gather(*[ask(number) for number in range(5)]):
        print(text, end="", file=log, flush=True)
    server.close()
    ticker.cancel()
    print("ticked", ticks > 10, file=log, flush=True)


asyncio.run(main())
