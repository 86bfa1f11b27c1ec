;; The loops of plan E that take its time, eight numbers at once: kernel.ts gives them their memory and says what lies where.
;; Beside this text lies kernel.wasm, which it is made to by `npm run kernel`; a test holds the two together.
;; Instructions: https://webassembly.github.io/spec/core/exec/instructions.html#vector-instructions
;;
;; 4,096 slots are a segment: the numbers of their documents (int32; 0: nothing is in the slot), then the early third of
;; their codes (32 bytes each), then the rest of these (64 each): of most, no more is read than tells that they are not
;; worth it. Sixteen are a block. Of a code, eight words of 16 bits are a group of 32
;; axes: their lowest four bits are the first eight, the next four bits the next eight, and so on.
(module
  (import "kernel" "memory" (memory 1))
  ;; Where lies, in bytes: what a question has along each axis (192 int16); slots that are to be looked at (int32), and a score
  ;; for each (float32); those that were, and theirs; how many scores lie in each of 4,096 steps (int32); a bit for each
  ;; document; the segments.
  (global $along (export "along") (mut i32) (i32.const 0))
  (global $slots (export "slots") (mut i32) (i32.const 0))
  (global $scores (export "scores") (mut i32) (i32.const 0))
  (global $seenSlots (export "seenSlots") (mut i32) (i32.const 0))
  (global $seenScores (export "seenScores") (mut i32) (i32.const 0))
  (global $counts (export "counts") (mut i32) (i32.const 0))
  (global $bits (export "bits") (mut i32) (i32.const 0))
  (global $segments (export "segments") (mut i32) (i32.const 0))
  ;; The step in which the last of the best `rows` of those seen lies, and how many lie above it.
  (global $step (export "step") (mut i32) (i32.const 0))
  (global $above (export "above") (mut i32) (i32.const 0))

  ;; What was read only to have it near.
  (global $any (mut i32) (i32.const 0))

  ;; Inner products of `count` vectors, which lie one after the other, with the question, times `unit`, as float32. All are
  ;; int16, and `bytes` is the length of one in bytes: a multiple of 32.
  (func (export "products")
    (param $vectors i32) (param $count i32) (param $bytes i32) (param $question i32) (param $to i32) (param $unit f32)
    (local $end i32) (local $at i32) (local $one v128) (local $other v128)
    (local.set $end (i32.add (local.get $to) (i32.shl (local.get $count) (i32.const 2))))
    (block $done
      (loop $vector
        (br_if $done (i32.ge_u (local.get $to) (local.get $end)))
        (local.set $one (v128.const i32x4 0 0 0 0))
        (local.set $other (v128.const i32x4 0 0 0 0))
        (local.set $at (i32.const 0))
        ;; Two sums at a time: one alone would wait for each addition.
        (loop $numbers
          (local.set $one (i32x4.add (local.get $one) (i32x4.dot_i16x8_s
            (v128.load (i32.add (local.get $vectors) (local.get $at)))
            (v128.load (i32.add (local.get $question) (local.get $at))))))
          (local.set $other (i32x4.add (local.get $other) (i32x4.dot_i16x8_s
            (v128.load offset=16 (i32.add (local.get $vectors) (local.get $at)))
            (v128.load offset=16 (i32.add (local.get $question) (local.get $at))))))
          (local.set $at (i32.add (local.get $at) (i32.const 32)))
          (br_if $numbers (i32.lt_u (local.get $at) (local.get $bytes))))
        (f32.store (local.get $to) (f32.mul (local.get $unit) (call $sum
          (i32x4.add (local.get $one) (local.get $other)))))
        (local.set $vectors (i32.add (local.get $vectors) (local.get $bytes)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))
        (br $vector))))

  ;; Adds those slots of a block that `bits` has the document of to the first `count`, with this score; returns how many
  ;; there are then. Each is written in any case, and written over by the next where it is not visible: nothing to be guessed.
  (func (export "gather")
    (param $block i32) (param $score f32) (param $count i32) (result i32)
    (local $at i32) (local $end i32) (local $slot i32) (local $document i32) (local $to i32)
    (local $slots i32) (local $scores i32) (local $bits i32)
    (local.set $slots (global.get $slots))
    (local.set $scores (global.get $scores))
    (local.set $bits (global.get $bits))
    (local.set $at (i32.add (global.get $segments) (i32.add
      (i32.mul (i32.shr_u (local.get $block) (i32.const 8)) (i32.const 409600))
      (i32.shl (i32.and (local.get $block) (i32.const 255)) (i32.const 6)))))
    (local.set $end (i32.add (local.get $at) (i32.const 64)))
    (local.set $slot (i32.shl (local.get $block) (i32.const 4)))
    (local.set $to (i32.shl (local.get $count) (i32.const 2)))
    (loop $next
      (local.set $document (i32.load (local.get $at)))
      (i32.store (i32.add (local.get $slots) (local.get $to)) (local.get $slot))
      (f32.store (i32.add (local.get $scores) (local.get $to)) (local.get $score))
      (local.set $to (i32.add (local.get $to) (i32.shl (i32.and
        (i32.shr_u
          (i32.load8_u (i32.add (local.get $bits) (i32.shr_u (local.get $document) (i32.const 3))))
          (i32.and (local.get $document) (i32.const 7)))
        (i32.const 1)) (i32.const 2))))
      (local.set $slot (i32.add (local.get $slot) (i32.const 1)))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (i32.shr_u (local.get $to) (i32.const 2)))

  ;; Looks at the codes of the first `count` slots. What each has as its score is that of its cell; to that comes `more`, and
  ;; `unit` times the sum of what the code has at each axis times what lies along it. Most are far off, which a third of the
  ;; axes tells: `late` is what the others add to that at most. What may be among the best `rows` of all that were seen for a
  ;; question is put after the first `seen` of those, and counted. Returns how many there are then.
  (func (export "look")
    (param $count i32) (param $unit f32) (param $more f32) (param $late f32)
    (param $rows i32) (param $seen i32) (result i32)
    (local $at i32) (local $end i32) (local $kept i32) (local $slot i32) (local $least f32)
    (local $code i32) (local $axes i32) (local $score f32) (local $own i32)
    (local $words v128) (local $sum v128) (local $low v128)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local $e v128) (local $f v128) (local $g v128) (local $h v128)
    (local $slots i32) (local $scores i32) (local $segments i32)
    (local.set $slots (global.get $slots))
    (local.set $scores (global.get $scores))
    (local.set $segments (global.get $segments))
    (local.set $low (v128.const i16x8 15 15 15 15 15 15 15 15))
    (local.set $a (v128.load (global.get $along)))
    (local.set $b (v128.load offset=16 (global.get $along)))
    (local.set $c (v128.load offset=32 (global.get $along)))
    (local.set $d (v128.load offset=48 (global.get $along)))
    (local.set $e (v128.load offset=64 (global.get $along)))
    (local.set $f (v128.load offset=80 (global.get $along)))
    (local.set $g (v128.load offset=96 (global.get $along)))
    (local.set $h (v128.load offset=112 (global.get $along)))
    (local.set $least (f32.sub (call $leastOf (global.get $step)) (local.get $late)))
    (local.set $end (i32.shl (local.get $count) (i32.const 2)))
    ;; Codes lie anywhere in memory: asked for all at once, they are waited for together.
    (block $asked
      (loop $next
        (br_if $asked (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $slot (i32.load (i32.add (local.get $slots) (local.get $at))))
        (local.set $kept (i32.add (local.get $kept) (i32.load offset=16384 (i32.add (local.get $segments) (i32.add
          (i32.mul (i32.shr_u (local.get $slot) (i32.const 12)) (i32.const 409600))
          (i32.shl (i32.and (local.get $slot) (i32.const 4095)) (i32.const 5)))))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br $next)))
    (global.set $any (local.get $kept))
    (local.set $kept (i32.const 0))
    (local.set $at (i32.const 0))
    ;; The early axes of all: what is left follows each other from the start. Written in any case, as above.
    (block $early
      (loop $next
        (br_if $early (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $slot (i32.load (i32.add (local.get $slots) (local.get $at))))
        (local.set $code (i32.add (local.get $segments) (i32.add
          (i32.mul (i32.shr_u (local.get $slot) (i32.const 12)) (i32.const 409600))
          (i32.shl (i32.and (local.get $slot) (i32.const 4095)) (i32.const 5)))))
        (local.set $words (v128.load offset=16384 (local.get $code)))
        (local.set $sum (i32x4.add
          (i32x4.add
            (i32x4.dot_i16x8_s (v128.and (local.get $words) (local.get $low)) (local.get $a))
            (i32x4.dot_i16x8_s
              (v128.and (i16x8.shr_u (local.get $words) (i32.const 4)) (local.get $low)) (local.get $b)))
          (i32x4.add
            (i32x4.dot_i16x8_s
              (v128.and (i16x8.shr_u (local.get $words) (i32.const 8)) (local.get $low)) (local.get $c))
            (i32x4.dot_i16x8_s (i16x8.shr_u (local.get $words) (i32.const 12)) (local.get $d)))))
        (local.set $words (v128.load offset=16400 (local.get $code)))
        (local.set $sum (i32x4.add (local.get $sum) (i32x4.add
          (i32x4.add
            (i32x4.dot_i16x8_s (v128.and (local.get $words) (local.get $low)) (local.get $e))
            (i32x4.dot_i16x8_s
              (v128.and (i16x8.shr_u (local.get $words) (i32.const 4)) (local.get $low)) (local.get $f)))
          (i32x4.add
            (i32x4.dot_i16x8_s
              (v128.and (i16x8.shr_u (local.get $words) (i32.const 8)) (local.get $low)) (local.get $g))
            (i32x4.dot_i16x8_s (i16x8.shr_u (local.get $words) (i32.const 12)) (local.get $h))))))
        (local.set $score (f32.add
          (f32.add (f32.load (i32.add (local.get $scores) (local.get $at))) (local.get $more))
          (f32.mul (local.get $unit) (call $sum (local.get $sum)))))
        (i32.store (i32.add (local.get $slots) (local.get $kept)) (local.get $slot))
        (f32.store (i32.add (local.get $scores) (local.get $kept)) (local.get $score))
        (local.set $kept (i32.add (local.get $kept) (i32.shl
          (f32.ge (local.get $score) (local.get $least)) (i32.const 2))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br $next)))
    (local.set $least (call $leastOf (global.get $step)))
    (local.set $seen (i32.shl (local.get $seen) (i32.const 2)))
    (local.set $at (i32.const 0))
    (block $late
      (loop $next
        (br_if $late (i32.ge_u (local.get $at) (local.get $kept)))
        (local.set $slot (i32.load (i32.add (local.get $slots) (local.get $at))))
        (local.set $code (i32.add (local.get $segments) (i32.add
          (i32.mul (i32.shr_u (local.get $slot) (i32.const 12)) (i32.const 409600))
          (i32.shl (i32.and (local.get $slot) (i32.const 4095)) (i32.const 6)))))
        (local.set $axes (i32.add (global.get $along) (i32.const 128)))
        (local.set $sum (v128.const i32x4 0 0 0 0))
        (loop $group
          (local.set $words (v128.load offset=147456 (local.get $code)))
          (local.set $sum (i32x4.add (local.get $sum) (i32x4.add
            (i32x4.add
              (i32x4.dot_i16x8_s (v128.and (local.get $words) (local.get $low)) (v128.load (local.get $axes)))
              (i32x4.dot_i16x8_s
                (v128.and (i16x8.shr_u (local.get $words) (i32.const 4)) (local.get $low))
                (v128.load offset=16 (local.get $axes))))
            (i32x4.add
              (i32x4.dot_i16x8_s
                (v128.and (i16x8.shr_u (local.get $words) (i32.const 8)) (local.get $low))
                (v128.load offset=32 (local.get $axes)))
              (i32x4.dot_i16x8_s
                (i16x8.shr_u (local.get $words) (i32.const 12))
                (v128.load offset=48 (local.get $axes)))))))
          (local.set $axes (i32.add (local.get $axes) (i32.const 64)))
          (local.set $code (i32.add (local.get $code) (i32.const 16)))
          (br_if $group (i32.lt_u (local.get $axes) (i32.add (global.get $along) (i32.const 384)))))
        (local.set $score (f32.add
          (f32.load (i32.add (local.get $scores) (local.get $at)))
          (f32.mul (local.get $unit) (call $sum (local.get $sum)))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $next (f32.lt (local.get $score) (local.get $least)))
        (i32.store (i32.add (global.get $seenSlots) (local.get $seen)) (local.get $slot))
        (f32.store (i32.add (global.get $seenScores) (local.get $seen)) (local.get $score))
        (local.set $seen (i32.add (local.get $seen) (i32.const 4)))
        (local.set $own (call $stepOf (local.get $score)))
        (call $increase (local.get $own))
        (br_if $next (i32.le_s (local.get $own) (global.get $step)))
        (global.set $above (i32.add (global.get $above) (i32.const 1)))
        ;; As soon as enough lie above it, the next step is the last.
        (loop $up
          (br_if $next (i32.lt_s (global.get $above) (local.get $rows)))
          (global.set $step (i32.add (global.get $step) (i32.const 1)))
          (global.set $above (i32.sub (global.get $above) (call $countOf (global.get $step))))
          (local.set $least (call $leastOf (global.get $step)))
          (br $up))))
    (i32.shr_u (local.get $seen) (i32.const 2)))

  (func $sum (param $of v128) (result f32)
    (local.set $of (i32x4.add (local.get $of)
      (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $of) (local.get $of))))
    (local.set $of (i32x4.add (local.get $of)
      (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $of) (local.get $of))))
    (f32x4.extract_lane 0 (f32x4.convert_i32x4_s (local.get $of))))

  ;; 4,096 steps from -2 to 2. What lies beyond is in the first, or the last.
  (func $stepOf (param $score f32) (result i32)
    (i32.trunc_sat_f32_s (f32.min (f32.const 4095) (f32.max (f32.const 0)
      (f32.mul (f32.add (local.get $score) (f32.const 2)) (f32.const 1024))))))

  ;; Less than any in the step. Anything is in the first.
  (func $leastOf (param $step i32) (result f32)
    (select
      (f32.sub (f32.mul (f32.convert_i32_s (local.get $step)) (f32.const 0.0009765625)) (f32.const 2))
      (f32.const -inf)
      (local.get $step)))

  (func $countOf (param $step i32) (result i32)
    (i32.load (i32.add (global.get $counts) (i32.shl (local.get $step) (i32.const 2)))))

  (func $increase (param $step i32)
    (local.set $step (i32.add (global.get $counts) (i32.shl (local.get $step) (i32.const 2))))
    (i32.store (local.get $step) (i32.add (i32.load (local.get $step)) (i32.const 1)))))
