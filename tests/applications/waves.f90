! waves.f90 LOG: Fortran with OpenMP: a wave on a grid, with a formatted log and an unformatted scratch file.
program waves
    use, intrinsic :: iso_fortran_env, only: int64, real64
    implicit none
    integer, parameter :: n = 120
    real(real64) :: now(0:n, 0:n), before(0:n, 0:n), next(0:n, 0:n), kept(0:n, 0:n)
    character(len=1000) :: log
    integer :: step, i, j, repeat
    call get_command_argument(1, log)
    open (10, file=trim(log), status='replace', action='write')
    open (11, status='scratch', form='unformatted', access='stream')
    now = 0
    now(n / 2, n / 2) = 1
    before = now
    do step = 1, 80
        do repeat = 1, 5
            !$omp parallel do private(i) schedule(dynamic, 8)
            do j = 1, n - 1
                do i = 1, n - 1
                    next(i, j) = 2 * now(i, j) - before(i, j) + 0.2_real64 * (now(i - 1, j) + now(i + 1, j) &
                        + now(i, j - 1) + now(i, j + 1) - 4 * now(i, j))
                end do
            end do
            !$omp end parallel do
            before = now
            now(1:n - 1, 1:n - 1) = next(1:n - 1, 1:n - 1)
        end do
        write (11, pos=1) now
        read (11, pos=1) kept
        write (10, '(i5, 2es24.16)') step, sum(kept(n / 2, :)), kept(n / 3, n / 2)
        flush (10)
        call execute_command_line('sleep 0.01')
    end do
end program waves
