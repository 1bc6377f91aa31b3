# model.R LOG: linear models, random numbers, closures, and children of the package parallel.
library(parallel)
log <- file(commandArgs(TRUE)[1], "w")
say <- function(...) { writeLines(paste(...), log); flush(log) }
set.seed(7)
count <- 0
next_number <- function() { count <<- count + 1; count }
for (step in 1:40) {
    data <- data.frame(x = rnorm(500), y = runif(500))
    data$z <- 3 * data$x - 2 * data$y + rnorm(500, sd = 0.1)
    fit <- lm(z ~ x + y, data)
    inverse <- solve(crossprod(matrix(rnorm(80 * 80), 80)))
    say("step", next_number(), format(coef(fit), digits = 10), format(sum(diag(inverse)), digits = 8))
    Sys.sleep(0.03)
}
RNGkind("L'Ecuyer-CMRG")
sums <- mclapply(1:8, function(number) { Sys.sleep(0.1); sum(as.numeric(1:(number * 1e5))) }, mc.cores = 4)
say("children", unlist(sums))
say("system", system("echo $((6 * 7))", intern = TRUE))
close(log)
