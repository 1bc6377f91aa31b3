#!/bin/bash
#SBATCH --job-name=matmul
#SBATCH --time=00:04:00
#SBATCH --cpus-per-task=4
#SBATCH --output=matmul-%j.out
# The script of a user of DMTCP, unchanged: with rethaw installed under DMTCP's names it goes on as it did.
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK

if ! ls ckpt*dmtcp >/dev/null 2>&1; then
    dmtcp_launch -i "${INTERVAL:-60}" python3 -u "${PROGRAM:-run.py}"
else
    newest=$(ls -t ckpt*dmtcp | head -n1)
    dmtcp_restart -i "${INTERVAL:-60}" "$newest"
fi
