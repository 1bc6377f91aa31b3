#!/bin/bash
#SBATCH --job-name=matmul
#SBATCH --time=00:04:00
#SBATCH --cpus-per-task=4
#SBATCH --output=matmul-%j.out
# Submit this script again and again: every job goes on where the one before was killed.
#
# INTERVAL is the time between checkpoints, PROGRAM the Python script (examples/matmul.py beside this folder).
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
exec rethaw run -i "${INTERVAL:-60}" -- python3 -u "${PROGRAM:-run.py}"
