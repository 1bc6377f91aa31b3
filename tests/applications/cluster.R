# cluster.R LOG: R processes that work for one over sockets (package parallel).
library(parallel)
log <- file(commandArgs(TRUE)[1], "w")
cluster <- makePSOCKcluster(3, port = 28601)
clusterSetRNGStream(cluster, 7)
for (step in 1:40) {
    parts <- clusterApply(cluster, 1:6, function(number) { Sys.sleep(0.01); sum(rnorm(1000)) * number })
    writeLines(paste("step", step, paste(format(unlist(parts), digits = 10), collapse = " ")), log)
    flush(log)
}
stopCluster(cluster)
writeLines("stopped", log)
close(log)
