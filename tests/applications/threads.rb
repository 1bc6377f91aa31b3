# threads.rb LOG: Ruby with threads, queues, fibres, children, pipes and compaction of its heap.
require "digest"

log = File.open(ARGV[0], "w")
log.sync = true
jobs, results = Queue.new, Queue.new
threads = 4.times.map do
  Thread.new do
    while (number = jobs.pop) != :end
      text = number.to_s
      300.times { text = Digest::SHA256.hexdigest(text) }
      results << [number, text[0, 10]]
    end
  end
end
fibre = Fiber.new do
  a, b = 0, 1
  loop { Fiber.yield a; a, b = b, a + b }
end
40.times do |step|
  10.times { |number| jobs << step * 10 + number }
  answers = 10.times.map { results.pop }.sort
  from, to = IO.pipe
  child = fork do
    from.close
    sleep 0.02
    to.write(answers.map(&:last).join.sum)
    exit! step % 5
  end
  to.close
  text = from.read
  Process.wait child
  log.puts "step #{step} #{answers.first.last} #{text} status #{$?.exitstatus} #{fibre.resume}"
  GC.compact if step % 10 == 9
  sleep 0.02
end
threads.each { jobs << :end }
threads.each(&:join)
IO.popen(["tr", "a-z", "A-Z"], "r+") do |io|
  io.puts "the end"
  io.close_write
  log.puts io.read
end
