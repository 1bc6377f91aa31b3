// Heap LOG: threads that allocate, a map that grows, exceptions, timers, and much garbage for the collector.
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

public class Heap {
    static long work(int worker, int step) {
        TreeMap<Long, byte[]> map = new TreeMap<>();
        long value = worker * 1000L + step;
        for (int i = 0; i < 3000; i++) {
            value = value * 6364136223846793005L + 1442695040888963407L;
            map.put(value >>> 40, new byte[(int) (value >>> 56)]);
        }
        long sum = 0;
        for (var entry : map.entrySet())
            sum = sum * 31 + entry.getKey() + entry.getValue().length;
        return sum;
    }

    public static void main(String[] arguments) throws Exception {
        List<int[]> kept = new ArrayList<>();
        ExecutorService pool = Executors.newFixedThreadPool(4);
        try (PrintWriter log = new PrintWriter(arguments[0])) {
            for (int step = 0; step < 60; step++) {
                List<Future<Long>> futures = new ArrayList<>();
                for (int worker = 0; worker < 4; worker++) {
                    int number = worker, now = step;
                    futures.add(pool.submit(() -> work(number, now)));
                }
                long sum = 0;
                for (Future<Long> future : futures)
                    sum = sum * 17 + future.get();
                kept.add(new int[10000]);
                kept.get(step)[step] = step;
                try {
                    kept.get(step + 1);
                } catch (IndexOutOfBoundsException e) {
                    sum += e.getMessage().length();
                }
                if (step % 20 == 19)
                    System.gc();
                log.printf("step %d %016x%n", step, sum);
                log.flush();
                Thread.sleep(25);
            }
            long total = 0;
            for (int[] array : kept)
                for (int value : array)
                    total += value;
            log.println("kept " + total);
        }
        pool.shutdown();
    }
}
