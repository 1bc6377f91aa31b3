"""training.py LOG: PyTorch on the processor, with data-loader workers that put batches into shared memory."""

import hashlib
import sys
import time

import torch
from torch.utils.data import DataLoader, Dataset


class Numbers(Dataset):
    def __len__(self):
        return 640

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        x = torch.randn(64, generator=generator)
        time.sleep(0.0005)
        return x, (x.sum() > 0).float()


def main():
    torch.manual_seed(7)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    log = open(sys.argv[1], "w")
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters())
    loss = torch.nn.BCEWithLogitsLoss()
    for epoch in range(6):
        loader = DataLoader(Numbers(), batch_size=32, shuffle=True, num_workers=2)
        for batch, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            value = loss(model(x).squeeze(1), y)
            value.backward()
            optimizer.step()
            if batch % 5 == 0:
                print("epoch", epoch, "batch", batch, f"{value.item():.8f}", file=log, flush=True)
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    print(hashlib.sha256(weights).hexdigest(), file=log)


main()
