;; The two loops of plan E that take its time, eight or four numbers at once: kernel.ts gives them their memory and says
;; what lies where. Beside this text lies kernel.wasm, which it is made to by `npm run kernel`; a test holds the two
;; together. Instructions: https://webassembly.github.io/spec/core/exec/instructions.html#vector-instructions
(module
  (import "kernel" "memory" (memory 1))

  ;; Inner products of `count` vectors, which lie one after the other, with the question. All are float32, and `bytes` is
  ;; the length of one in bytes: a multiple of 32.
  (func (export "products")
    (param $vectors i32) (param $count i32) (param $bytes i32) (param $question i32) (param $to i32)
    (local $end i32) (local $at i32) (local $one v128) (local $other v128)
    (local.set $end (i32.add (local.get $to) (i32.shl (local.get $count) (i32.const 2))))
    (block $done
      (loop $vector
        (br_if $done (i32.ge_u (local.get $to) (local.get $end)))
        (local.set $one (v128.const f32x4 0 0 0 0))
        (local.set $other (v128.const f32x4 0 0 0 0))
        (local.set $at (i32.const 0))
        ;; Two sums at a time: one alone would wait for each addition.
        (loop $numbers
          (local.set $one (f32x4.add (local.get $one) (f32x4.mul
            (v128.load (i32.add (local.get $vectors) (local.get $at)))
            (v128.load (i32.add (local.get $question) (local.get $at))))))
          (local.set $other (f32x4.add (local.get $other) (f32x4.mul
            (v128.load offset=16 (i32.add (local.get $vectors) (local.get $at)))
            (v128.load offset=16 (i32.add (local.get $question) (local.get $at))))))
          (local.set $at (i32.add (local.get $at) (i32.const 32)))
          (br_if $numbers (i32.lt_u (local.get $at) (local.get $bytes))))
        (local.set $one (f32x4.add (local.get $one) (local.get $other)))
        (f32.store (local.get $to) (f32.add
          (f32.add (f32x4.extract_lane 0 (local.get $one)) (f32x4.extract_lane 1 (local.get $one)))
          (f32.add (f32x4.extract_lane 2 (local.get $one)) (f32x4.extract_lane 3 (local.get $one)))))
        (local.set $vectors (i32.add (local.get $vectors) (local.get $bytes)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))
        (br $vector))))

  ;; Scores the codes in `count` slots (int32). To begin with, `scores` (float32) has at the place of each what the code's cell
  ;; scores. To that comes `more`, and `unit` times the sum of what the code has at each of 192 axes times `along` (int16) there.
  ;; Most are far off, which a third of the axes tells: whose score is below `least` after those is dropped. What is left
  ;; follows each other from the start of `slots` and `scores`; returns how many.
  ;; A code is 96 bytes: 48 words of 16 bits, four axes each. Of the eight words from word 8 g on the lowest four bits are axes
  ;; 32 g to 32 g + 7, the next four bits the next eight axes, and so on.
  (func (export "score")
    (param $codes i32) (param $slots i32) (param $scores i32) (param $count i32)
    (param $along i32) (param $unit f32) (param $more f32) (param $least f32) (result i32)
    (local $last i32) (local $at i32) (local $kept i32)
    (local $code i32) (local $end i32) (local $axes i32) (local $score f32)
    (local $words v128) (local $sum v128) (local $low v128)
    (local.set $low (v128.const i16x8 15 15 15 15 15 15 15 15))
    (local.set $last (i32.shl (local.get $count) (i32.const 2)))
    (block $done
      (loop $slot
        (br_if $done (i32.ge_u (local.get $at) (local.get $last)))
        (local.set $code (i32.add (local.get $codes)
          (i32.mul (i32.load (i32.add (local.get $slots) (local.get $at))) (i32.const 96))))
        (local.set $end (i32.add (local.get $code) (i32.const 32)))
        (local.set $axes (local.get $along))
        (local.set $sum (v128.const i32x4 0 0 0 0))
        (block $dropped
          (loop $part
            (loop $group
              (local.set $words (v128.load (local.get $code)))
              (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
                (v128.and (local.get $words) (local.get $low))
                (v128.load (local.get $axes)))))
              (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
                (v128.and (i16x8.shr_u (local.get $words) (i32.const 4)) (local.get $low))
                (v128.load offset=16 (local.get $axes)))))
              (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
                (v128.and (i16x8.shr_u (local.get $words) (i32.const 8)) (local.get $low))
                (v128.load offset=32 (local.get $axes)))))
              (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
                (i16x8.shr_u (local.get $words) (i32.const 12))
                (v128.load offset=48 (local.get $axes)))))
              (local.set $axes (i32.add (local.get $axes) (i32.const 64)))
              (local.set $code (i32.add (local.get $code) (i32.const 16)))
              (br_if $group (i32.lt_u (local.get $code) (local.get $end))))
            (local.set $score (f32.add
              (f32.add (f32.load (i32.add (local.get $scores) (local.get $at))) (local.get $more))
              (f32.mul (local.get $unit) (f32.convert_i32_s (i32.add
                (i32.add (i32x4.extract_lane 0 (local.get $sum)) (i32x4.extract_lane 1 (local.get $sum)))
                (i32.add (i32x4.extract_lane 2 (local.get $sum)) (i32x4.extract_lane 3 (local.get $sum))))))))
            (if (i32.lt_u (local.get $axes) (i32.add (local.get $along) (i32.const 384)))
              (then
                (br_if $dropped (f32.lt (local.get $score) (local.get $least)))
                (local.set $end (i32.add (local.get $end) (i32.const 64)))
                (br $part))))
          (i32.store (i32.add (local.get $slots) (local.get $kept))
            (i32.load (i32.add (local.get $slots) (local.get $at))))
          (f32.store (i32.add (local.get $scores) (local.get $kept)) (local.get $score))
          (local.set $kept (i32.add (local.get $kept) (i32.const 4))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br $slot)))
    (i32.shr_u (local.get $kept) (i32.const 2))))
