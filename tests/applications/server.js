// server.js LOG: a Node.js HTTP server under load from clients inside, worker threads, a child process, timers.
const fs = require("fs");
const http = require("http");
const crypto = require("crypto");
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const { spawn } = require("child_process");

function digest(text, times) {
    for (let i = 0; i < times; i++) text = crypto.createHash("sha256").update(text).digest("hex");
    return text;
}

if (!isMainThread) {
    parentPort.on("message", (step) => parentPort.postMessage(digest(`${workerData} ${step}`, 2000)));
} else {
    main(process.argv[2]);
}

function ask(agent, path) {
    return new Promise((resolve, reject) => {
        http.get({ host: "127.0.0.1", port: 28401, path, agent }, (answer) => {
            let text = "";
            answer.on("data", (data) => (text += data));
            answer.on("end", () => resolve(text));
        }).on("error", reject);
    });
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function client(number) {
    const agent = new http.Agent({ keepAlive: number % 2 == 0 });
    const lines = [];
    for (let step = 0; step < 60; step++) {
        lines.push(await ask(agent, `/client${number}/step${step}`));
        await sleep(25);
    }
    agent.destroy();
    return lines.join("");
}

async function work(number) {
    const worker = new Worker(__filename, { workerData: number });
    const lines = [];
    for (let step = 0; step < 40; step++) {
        const answer = new Promise((resolve) => worker.once("message", resolve));
        worker.postMessage(step);
        lines.push(`worker ${number} ${(await answer).slice(0, 12)}\n`);
        await sleep(25);
    }
    await worker.terminate();
    return lines.join("");
}

function sort() {
    return new Promise((resolve) => {
        const child = spawn("sort", ["-n"]);
        let text = "";
        child.stdout.on("data", (data) => (text += data));
        child.on("close", (status) => resolve(`${text}sort ${status}\n`));
        let step = 0;
        const timer = setInterval(() => {
            child.stdin.write(`${(step * 37) % 101}\n`);
            if (++step == 50) {
                clearInterval(timer);
                child.stdin.end();
            }
        }, 25);
    });
}

async function main(log) {
    const server = http.createServer((request, response) => {
        setTimeout(() => response.end(`${request.url} ${digest(request.url, 200).slice(0, 12)}\n`), 5);
    });
    await new Promise((resolve) => server.listen(28401, "127.0.0.1", resolve));
    const parts = await Promise.all([0, 1, 2, 3].map(client).concat([0, 1].map(work), sort()));
    server.close();
    fs.writeFileSync(log, parts.join(""));
}
