#!/bin/sh
# A Slurm cluster of one node on this machine, for the test marked `slurm` and for trying hydra/launcher=slurm out.
#
#   apt-get install slurm-wlm munge          (once, as root)
#   scripts/slurm_here.sh start DIR          then: export SLURM_CONF=DIR/slurm.conf
#   scripts/slurm_here.sh stop DIR
#
# Everything it writes is in DIR. It runs as who starts it; another user's cluster is left alone.
set -eu
what=${1:-} dir=${2:-}
PATH=$PATH:/usr/sbin:/sbin
case "$what:$dir" in start:/* | stop:/*) ;; *) sed -n 's/^# \{0,1\}//p' "$0" >&2; exit 2 ;; esac

ended() { # the daemons started below, by the process ids they wrote
    for name in slurmd slurmctld munged; do
        [ -s "$dir/$name.pid" ] && kill "$(cat "$dir/$name.pid")" 2>/dev/null || true
    done
}
[ "$what" = stop ] && { ended; exit 0; }

for program in munged slurmctld slurmd sbatch; do
    command -v $program >/dev/null || { echo "error: no $program: apt-get install slurm-wlm munge" >&2; exit 1; }
done
umask 022
mkdir -p "$dir/state" "$dir/spool"
chmod 755 "$dir"
[ -s "$dir/munge.key" ] || (umask 077 && dd if=/dev/urandom of="$dir/munge.key" bs=128 count=1 2>/dev/null)
host=$(hostname -s) user=$(id -un)
port=${SLURM_HERE_PORT:-16817} # and the one after it
cat >"$dir/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=10 # a job that is queued again waits so many seconds
CredType=cred/munge
SlurmUser=$user
SlurmdUser=$user
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
# neither cgroups nor affinity: this works in containers too
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
# a job of the partition "urgent" takes the place of one that is not, which is queued again at once
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=30
SchedulerParameters=sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides # each thread of a processor takes a job
NodeName=$host NodeAddr=127.0.0.1 Sockets=1 CoresPerSocket=$(getconf _NPROCESSORS_ONLN) ThreadsPerCore=1 State=UNKNOWN
PartitionName=normal Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
CONF
munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munge.seed"
SLURM_CONF=$dir/slurm.conf
export SLURM_CONF
slurmctld -f "$SLURM_CONF" || { ended; echo "error: slurmctld: $(tail -1 "$dir/slurmctld.log")" >&2; exit 1; }
slurmd -f "$SLURM_CONF" || { ended; echo "error: slurmd: $(tail -1 "$dir/slurmd.log")" >&2; exit 1; }
for _ in $(seq 60); do
    if sinfo -h -o %T 2>/dev/null | grep -q idle; then
        echo "export SLURM_CONF=$SLURM_CONF"
        exit 0
    fi
    sleep 0.5
done
ended
echo "error: no node came up within 30 s; see $dir/slurmctld.log and $dir/slurmd.log" >&2
exit 1
