% matrices.m LOG: GNU Octave: matrices, cells, strings, closures, a subprocess.
log = fopen(argv(){1}, "w");
rand("seed", 7); randn("seed", 7);
A = rand(120);
kept = {};
for step = 1:50
  A = A * rand(120); A /= norm(A);
  kept{end + 1} = sprintf("%.8e", trace(A));
  [q, r] = qr(A);
  fprintf(log, "step %d %s %.6e %d\n", step, kept{end}, abs(r(1, 1)), numel(kept));
  fflush(log);
  pause(0.03);
end
f = @(x) x .^ 2 - 2;
fprintf(log, "root %.12f\n", fzero(f, [0, 2]));
[status, out] = system("echo $((6 * 7))");
fprintf(log, "system %d %s", status, out);
fclose(log);
