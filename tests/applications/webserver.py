"""webserver.py LOG: nginx with two workers, and clients that keep their connections and make new ones."""

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import threading
import time

CONFIGURATION = """
daemon off;
worker_processes 2;
pid nginx.pid;
error_log error.log;
events { worker_connections 64; }
http {
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 127.0.0.1:28301;
        root files;
        location /again/ { proxy_pass http://127.0.0.1:28301/; }
    }
}
"""


def client(number, results):
    kept = http.client.HTTPConnection("127.0.0.1", 28301, timeout=60)
    for step in range(60):
        connection = kept if step % 3 else http.client.HTTPConnection("127.0.0.1", 28301, timeout=60)
        connection.request("GET", f"/{'again/' if step % 2 else ''}file{(number + step) % 5}")
        answer = connection.getresponse()
        results[number].append((answer.status, hashlib.md5(answer.read()).hexdigest()))
        if connection is not kept:
            connection.close()
        time.sleep(0.02)


def main():
    shutil.rmtree("server", ignore_errors=True)
    os.makedirs("server/files")
    for number in range(5):
        with open(f"server/files/file{number}", "w") as file:
            file.write(f"{number}\n" * 30000)
    with open("server/nginx.conf", "w") as file:
        file.write(CONFIGURATION)
    os.environ["PATH"] += ":/usr/sbin"
    server = subprocess.Popen(["nginx", "-p", f"{os.getcwd()}/server/", "-c", "nginx.conf", "-e", "error.log"])
    while not os.path.exists("server/nginx.pid"):
        time.sleep(0.02)
    time.sleep(0.2)
    results = [[] for _ in range(4)]
    threads = [threading.Thread(target=client, args=(number, results)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(sys.argv[1], "w") as log:
        for number, answers in enumerate(results):
            for status, digest in answers:
                print("client", number, status, digest, file=log)
        server.terminate()
        print("status", server.wait(), file=log)


main()
