"""notebook.py LOG: a Jupyter kernel, and a client that goes on using it."""

import sys
import time

from jupyter_client.manager import start_new_kernel

CELL = """
total = total * 31 + {step}
values.append(total % 1000)
import time; time.sleep(0.03)
print("step", {step}, sum(values), state.send(None))
len(values)
"""


def main():
    log = open(sys.argv[1], "w")
    manager, client = start_new_kernel(kernel_name="python3")

    def run(code):
        # What is printed may come in several messages.
        texts = []

        def hook(message):
            content = message["content"]
            texts.append(content.get("text") or content.get("data", {}).get("text/plain") or "")

        reply = client.execute_interactive(code, timeout=120, output_hook=hook)["content"]
        print(reply["status"], reply["execution_count"], "".join(texts).split(), file=log, flush=True)

    run("total = 0; values = []; state = (n * n for n in range(1000))")
    for step in range(40):
        run(CELL.format(step=step))
        time.sleep(0.01)
    run("import subprocess; print(subprocess.run(['echo', 'a child'], capture_output=True, text=True).stdout)")
    run("1 / 0")
    client.stop_channels()
    manager.shutdown_kernel()
    print("the end", file=log)


main()
