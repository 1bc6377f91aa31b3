;; lists.lisp LOG: Steel Bank Common Lisp: memory that is collected, compiled functions, threads, a process.
(require :sb-posix)

(defun work (number)
  (let ((table (make-hash-table :test 'equal)))
    (dotimes (i 3000)
      (setf (gethash (format nil "~a ~a" number (mod i 500)) table) (list i number)))
    (loop for value being the hash-values of table sum (reduce #'+ value))))

(with-open-file (log (second sb-ext:*posix-argv*) :direction :output :if-exists :supersede)
  (let ((kept nil))
    (dotimes (step 40)
      (push (make-array 10000 :initial-element step) kept)
      (when (> (length kept) 10) (setf kept (subseq kept 0 5)))
      (let* ((compiled (compile nil `(lambda (x) (+ (* x ,step) ,(length kept)))))
             (threads (loop for n below 3 collect
                        (let ((n n)) (sb-thread:make-thread (lambda () (work (+ n step)))))))
             (sums (mapcar #'sb-thread:join-thread threads)))
        (when (zerop (mod step 10)) (sb-ext:gc :full t))
        (format log "step ~a ~a ~a ~a~%" step (funcall compiled 7) sums (aref (first (last kept)) 9999)))
      (finish-output log)
      (sleep 0.02)))
  (let ((child (sb-ext:run-program "/bin/echo" '("a process") :output :stream)))
    (format log "~a~%" (read-line (sb-ext:process-output child)))))
