# gromacs.sh LOG: molecular dynamics of water, by `$MDRUN`; `gromacs.sh prepare` makes its input. LOG gets a checksum of all
# energies, and the last ones.
export GMX_MAXBACKUP=-1 OMP_NUM_THREADS=1
set -e
parameters() {
    cat <<END
integrator = $1
nsteps = $2
cutoff-scheme = Verlet
coulombtype = PME
rcoulomb = 0.9
rvdw = 0.9
constraints = h-bonds
END
}
if [ "$1" = prepare ]; then
    exec >prepare.log 2>&1 </dev/null
    printf '#include "oplsaa.ff/forcefield.itp"\n#include "oplsaa.ff/spce.itp"\n[ system ]\nwater\n[ molecules ]\n' >topol.top
    gmx -quiet solvate -cs spc216 -box 2.5 2.5 2.5 -o water.gro -p topol.top
    parameters steep 50 >relax.mdp
    gmx -quiet grompp -f relax.mdp -c water.gro -p topol.top -o relax.tpr -maxwarn 2
    gmx -quiet mdrun -ntmpi 1 -ntomp 1 -reprod -notunepme -pin off -s relax.tpr -c relaxed.gro -o r.trr -e r.edr -g r.log
    parameters md 1000000 >run.mdp
    printf '%s\n' 'dt = 0.002' 'nstlog = 100' 'nstenergy = 50' 'nstcalcenergy = 50' 'gen-vel = yes' 'gen-temp = 300' \
        'gen-seed = 4711' 'tcoupl = V-rescale' 'tc-grps = System' 'tau-t = 0.1' 'ref-t = 300' 'ld-seed = 12345' >>run.mdp
    gmx -quiet grompp -f run.mdp -c relaxed.gro -p topol.top -o run.tpr -maxwarn 2
    exit
fi
$MDRUN -quiet -s run.tpr -nsteps "$STEPS" -reprod -dlb no -notunepme -pin off -cpt -1 -o t.trr -e e.edr -g md.log -c end.gro \
    >mdrun.out 2>&1 </dev/null
gmx -quiet dump -e e.edr >energies.txt 2>/dev/null </dev/null
echo "FINAL $(md5sum <energies.txt) $(grep -c 'Kinetic' energies.txt) frames, $(tail -n 60 energies.txt | grep 'Total Energy' | tr -s ' ')" >"$1"
