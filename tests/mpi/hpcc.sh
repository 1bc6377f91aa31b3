# hpcc.sh LOG: the HPC Challenge, by `$HPCC`, with a small input. LOG gets what does not depend on time.
export OMP_NUM_THREADS=1
set -e
lines() {
    printf '%s\n' 'small input' 'made by hpcc.sh' 'HPL.out' '8 device' \
        '1 problem size' "$SIZE Ns" '1 block size' '64 NBs' '0 row-major' '1 grid' '1 Ps' '2 Qs' '16.0 threshold' \
        '1 panel factorisation' '2 PFACTs' '1 stopping' '4 NBMINs' '1 panels' '2 NDIVs' '1 recursive' '1 RFACTs' \
        '1 broadcast' '1 BCASTs' '1 lookahead' '1 DEPTHs' '2 SWAP' '64 threshold' '0 L1' '0 U' '1 equilibration' '8 alignment' \
        '##### separator' '0 more sizes for PTRANS' '1200 values' '0 more block sizes' '40 values'
}
lines >hpccinf.txt
rm -f hpccoutf.txt
$HPCC >hpcc.out 2>&1 </dev/null
grep -E '^(Success|HPL_N|HPL_RnormI|HPL_Anorm1|HPL_XnormI|HPL_BnormI|PTRANS_residual|MPIRandomAccess_ErrorsFraction|MPIFFT_N|StarSTREAM_Triad_N)=' \
    hpccoutf.txt | sed 's/PTRANS_residual=.*/PTRANS_residual/' >"$1"
echo "FINAL $(grep -c FAILED hpccoutf.txt) failed" >>"$1"
