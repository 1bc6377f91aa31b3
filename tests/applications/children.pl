# children.pl LOG: Perl with children, pipes in both directions, signals, sorting, and regular expressions.
use strict;
use warnings;
use IO::Handle;
use POSIX ":sys_wait_h";

open my $log, ">", $ARGV[0] or die;
$log->autoflush(1);
my ($alarms, %ended) = (0);
$SIG{ALRM} = sub { $alarms++ };
$SIG{CHLD} = sub { while ((my $pid = waitpid(-1, WNOHANG)) > 0) { $ended{$pid} = $? >> 8 } };

for my $round (1 .. 30) {
    pipe my $from, my $to or die;
    my $pid = fork;
    if (!$pid) {
        close $from;
        my %count;
        $count{$_ * $_ % 97}++ for 1 .. 3000 * $round;
        print $to "$_:$count{$_} " for sort { $a <=> $b } keys %count;
        close $to;
        POSIX::_exit($round);
    }
    close $to;
    my $text = join "", <$from>;
    select undef, undef, undef, 0.05;
    select undef, undef, undef, 0.01 until exists $ended{$pid};
    (my $short = $text) =~ s/(\d+):(\d+) /$2/g;
    print $log "round $round: ", length $text, " ", substr($short, 0, 40), " status $ended{$pid}\n";
}
alarm 1;
select undef, undef, undef, 0.1 until $alarms;
open my $sort, "|-", "sort -n | uniq -c > sorted" or die;
for my $number (1 .. 400) {
    print $sort $number * 7919 % 31, "\n";
    $sort->flush;
    select undef, undef, undef, 0.002;
}
{ local $SIG{CHLD} = "DEFAULT"; close $sort or die; }
open my $sorted, "<", "sorted" or die;
print $log $_ while <$sorted>;
print $log "alarms $alarms\n";
