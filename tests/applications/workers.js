// workers.js LOG: Node.js with the module cluster: workers that share a listening socket, and clients.
const cluster = require("cluster");
const fs = require("fs");
const http = require("http");

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function ask(path) {
    return new Promise((resolve, reject) => {
        http.get({ host: "127.0.0.1", port: 28801, path }, (answer) => {
            let text = "";
            answer.on("data", (data) => (text += data));
            answer.on("end", () => resolve(text));
        }).on("error", reject);
    });
}

async function primary(log) {
    const workers = [0, 1, 2].map(() => cluster.fork());
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.on("listening", resolve))));
    const file = fs.openSync(log, "w");
    for (let step = 0; step < 60; step++) {
        const answers = await Promise.all([0, 1, 2, 3].map((client) => ask(`/${client}/${step}`)));
        fs.writeSync(file, `step ${step} ${answers.join(" ")}\n`);
        await sleep(20);
    }
    workers.forEach((worker) => worker.send("end"));
    const codes = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.on("exit", resolve))));
    fs.writeSync(file, `ended ${codes}\n`);
}

if (cluster.isPrimary) {
    primary(process.argv[2]);
} else {
    const server = http.createServer((request, answer) => answer.end(`answer ${request.url}`));
    server.listen(28801, "127.0.0.1");
    process.on("message", () => process.exit(3));
}
