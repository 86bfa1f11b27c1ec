;; The loops of an IVF scan that take its time, eight numbers at once. simd.ts gives them their memory and says what lies
;; where.
;; Beside this text lies simd.wasm, which it is made to by `npm run simd`; a test holds the two together.
;; Instructions: https://webassembly.github.io/spec/core/exec/instructions.html#vector-instructions
;;
;; `codes` are segments of 4,096 slots. Sixteen are a block: the numbers of their documents (int32; 0: nothing is in the slot), then the
;; early third of their codes (32 bytes each). After the blocks of a segment there are as many
;; entries: the partitions of documents' chunks, one document after the other (uint16), and their slots (int32). Then comes the
;; rest of the codes (64 bytes each): of most, no more is read than tells that they are not worth it. Of a code, sixteen bytes
;; are a group of 32 components, four bits each: the lower four bits of all bytes, and the upper.
(module
  ;; What is written here lies in the thread's own memory. The other two are read by several threads while one writes: whatever
  ;; a number there has become meanwhile, no loop may go on without end by it, and nothing there is written.
  (import "scanner" "scratch" (memory $scratch 1))
  (import "scanner" "codes" (memory $codes 1 65536 shared))
  (import "scanner" "documents" (memory $documents 1 65536 shared))
  ;; Where lies, in bytes: what a query has along each component (192 int8, as codes have them); slots that are to be scanned
  ;; (int32), and a score for each (float32); those that were, and theirs; how many scores lie in each of 4,096 steps (int32);
  ;; runs of
  ;; blocks whose slots are gathered: the first block, how many there are, and a score (float32); a bit for each document; the
  ;; slots and partitions of the chunks of visible documents; of each partition four times its step (int32), and its score; for each
  ;; step where in the order of what is chosen it goes on, in bytes (int32). And in `documents`, of each the first of its entries,
  ;; and how many there are (int32 each): runs.
  (global $projections (export "projections") (mut i32) (i32.const 0))
  (global $slots (export "slots") (mut i32) (i32.const 0))
  (global $scores (export "scores") (mut i32) (i32.const 0))
  (global $hitSlots (export "hitSlots") (mut i32) (i32.const 0))
  (global $hitScores (export "hitScores") (mut i32) (i32.const 0))
  (global $counts (export "counts") (mut i32) (i32.const 0))
  (global $queued (export "queued") (mut i32) (i32.const 0))
  (global $bits (export "bits") (mut i32) (i32.const 0))
  (global $runs (export "runs") (mut i32) (i32.const 0))
  (global $collectedSlots (export "collectedSlots") (mut i32) (i32.const 0))
  (global $collectedPartitions (export "collectedPartitions") (mut i32) (i32.const 0))
  (global $partitionSteps (export "partitionSteps") (mut i32) (i32.const 0))
  (global $partitionScores (export "partitionScores") (mut i32) (i32.const 0))
  (global $order (export "order") (mut i32) (i32.const 0))
  ;; The step in which the last of the best `rows` of those seen lies, and how many lie above it.
  (global $step (export "step") (mut i32) (i32.const 0))
  (global $above (export "above") (mut i32) (i32.const 0))

  ;; What was read only to have it near.
  (global $prefetched (mut i32) (i32.const 0))

  ;; Inner products of `count` vectors, which lie one after the other in `documents`, with the query, times `unit`, as float32. All are
  ;; int16, and `bytes` is the length of one in bytes: a multiple of 32.
  (func (export "products")
    (param $vectors i32) (param $count i32) (param $bytes i32) (param $query i32) (param $to i32) (param $unit f32)
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
            (v128.load $documents (i32.add (local.get $vectors) (local.get $at)))
            (v128.load (i32.add (local.get $query) (local.get $at))))))
          (local.set $other (i32x4.add (local.get $other) (i32x4.dot_i16x8_s
            (v128.load $documents offset=16 (i32.add (local.get $vectors) (local.get $at)))
            (v128.load offset=16 (i32.add (local.get $query) (local.get $at))))))
          (local.set $at (i32.add (local.get $at) (i32.const 32)))
          (br_if $numbers (i32.lt_u (local.get $at) (local.get $bytes))))
        (f32.store (local.get $to) (f32.mul (local.get $unit) (call $sum
          (i32x4.add (local.get $one) (local.get $other)))))
        (local.set $vectors (i32.add (local.get $vectors) (local.get $bytes)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))
        (br $vector))))

  ;; Gathers those slots that `bits` has the document of, with the scores of their partitions, from the first `count` runs of blocks that
  ;; lie beside each other. Returns how many there are. Each is written in any case, and written over by the next where it
  ;; is not visible: nothing to be guessed. Where most are visible (`dense`), their codes are asked for with their documents.
  (func (export "gather") (param $count i32) (param $dense i32) (result i32)
    (local $run i32) (local $end i32) (local $block i32) (local $last i32) (local $score f32)
    (local $at i32) (local $blockEnd i32) (local $slot i32) (local $document i32) (local $to i32) (local $prefetched i32)
    (local $slots i32) (local $scores i32) (local $bits i32)
    (local.set $slots (global.get $slots))
    (local.set $scores (global.get $scores))
    (local.set $bits (global.get $bits))
    (local.set $run (global.get $queued))
    (local.set $end (i32.add (local.get $run) (i32.mul (local.get $count) (i32.const 12))))
    ;; All of it is asked for at once: what is read one after the other is waited for one after the other.
    (block $asked
      (loop $next
        (br_if $asked (i32.ge_u (local.get $run) (local.get $end)))
        (local.set $block (i32.load (local.get $run)))
        (local.set $last (i32.add (local.get $block) (i32.load offset=4 (local.get $run))))
        (local.set $run (i32.add (local.get $run) (i32.const 12)))
        (loop $blocks
          (br_if $next (i32.ge_u (local.get $block) (local.get $last)))
          (local.set $at (call $blockAt (local.get $block)))
          (local.set $block (i32.add (local.get $block) (i32.const 1)))
          (local.set $prefetched (i32.add (local.get $prefetched) (i32.load $codes (local.get $at))))
          (br_if $blocks (i32.eqz (local.get $dense)))
          (local.set $prefetched (i32.add (local.get $prefetched) (i32.add
            (i32.add
              (i32.add (i32.load $codes offset=64 (local.get $at)) (i32.load $codes offset=128 (local.get $at)))
              (i32.add (i32.load $codes offset=192 (local.get $at)) (i32.load $codes offset=256 (local.get $at))))
            (i32.add
              (i32.add (i32.load $codes offset=320 (local.get $at)) (i32.load $codes offset=384 (local.get $at)))
              (i32.add (i32.load $codes offset=448 (local.get $at)) (i32.load $codes offset=512 (local.get $at)))))))
          (br $blocks))))
    (global.set $prefetched (local.get $prefetched))
    (local.set $run (global.get $queued))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $run) (local.get $end)))
        (local.set $block (i32.load (local.get $run)))
        (local.set $last (i32.add (local.get $block) (i32.load offset=4 (local.get $run))))
        (local.set $score (f32.load offset=8 (local.get $run)))
        (local.set $run (i32.add (local.get $run) (i32.const 12)))
        (local.set $slot (i32.shl (local.get $block) (i32.const 4)))
        (loop $blocks
          (br_if $next (i32.ge_u (local.get $block) (local.get $last)))
          (local.set $at (call $blockAt (local.get $block)))
          (local.set $block (i32.add (local.get $block) (i32.const 1)))
          (local.set $blockEnd (i32.add (local.get $at) (i32.const 64)))
          (loop $each
            (local.set $document (i32.load $codes (local.get $at)))
            (i32.store (i32.add (local.get $slots) (local.get $to)) (local.get $slot))
            (f32.store (i32.add (local.get $scores) (local.get $to)) (local.get $score))
            (local.set $to (i32.add (local.get $to) (i32.shl (i32.and
              (i32.shr_u
                (i32.load8_u (i32.add (local.get $bits) (i32.shr_u (local.get $document) (i32.const 3))))
                (i32.and (local.get $document) (i32.const 7)))
              (i32.const 1)) (i32.const 2))))
            (local.set $slot (i32.add (local.get $slot) (i32.const 1)))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br_if $each (i32.lt_u (local.get $at) (local.get $blockEnd))))
          (br $blocks))))
    (i32.shr_u (local.get $to) (i32.const 2)))

  ;; Puts the chunks of the documents in the first `bytes` of `bits`, eight at a time, beside each other: at most `room`. What
  ;; lies beyond a document's last is written, too, and written over by the next. Returns how many there are; -1 where there is no room.
  (func (export "collect") (param $bytes i32) (param $room i32) (result i32)
    (local $from i32) (local $end i32) (local $word i64) (local $run i32) (local $entry i32) (local $left i32)
    (local $count i32) (local $at i32) (local $own i32) (local $piece i32) (local $past i32)
    (local.set $from (global.get $bits))
    (local.set $end (i32.add (local.get $from) (local.get $bytes)))
    (block $done
      (loop $words
        (br_if $done (i32.ge_u (local.get $from) (local.get $end)))
        (local.set $word (i64.load (local.get $from)))
        (local.set $run (i32.add (global.get $runs)
          (i32.shl (i32.sub (local.get $from) (global.get $bits)) (i32.const 6))))
        (local.set $from (i32.add (local.get $from) (i32.const 8)))
        (loop $documents
          (br_if $words (i64.eqz (local.get $word)))
          (local.set $at (i32.add (local.get $run) (i32.shl (i32.wrap_i64 (i64.ctz (local.get $word))) (i32.const 3))))
          ;; Without its lowest bit.
          (local.set $word (i64.and (local.get $word) (i64.sub (local.get $word) (i64.const 1))))
          (local.set $entry (i32.load $documents (local.get $at)))
          (local.set $left (i32.load $documents offset=4 (local.get $at)))
          (if (i32.gt_u (i32.add (local.get $count) (local.get $left)) (local.get $room))
            (then (return (i32.const -1))))
          ;; Only of very long documents some lie in the next segment.
          (loop $pieces
            (br_if $documents (i32.eqz (local.get $left)))
            (local.set $own (i32.and (local.get $entry) (i32.const 4095)))
            (local.set $piece (i32.sub (i32.const 4096) (local.get $own)))
            (local.set $piece (select (local.get $left) (local.get $piece)
              (i32.lt_u (local.get $left) (local.get $piece))))
            (local.set $at (i32.mul (i32.shr_u (local.get $entry) (i32.const 12)) (i32.const 434176)))
            (local.set $past (i32.const 0))
            (loop $eight
              (v128.store
                (i32.add (global.get $collectedPartitions) (i32.shl (i32.add (local.get $count) (local.get $past)) (i32.const 1)))
                (v128.load $codes offset=147456 (i32.add (local.get $at)
                  (i32.shl (i32.add (local.get $own) (local.get $past)) (i32.const 1)))))
              (v128.store
                (i32.add (global.get $collectedSlots) (i32.shl (i32.add (local.get $count) (local.get $past)) (i32.const 2)))
                (v128.load $codes offset=155648 (i32.add (local.get $at)
                  (i32.shl (i32.add (local.get $own) (local.get $past)) (i32.const 2)))))
              (v128.store offset=16
                (i32.add (global.get $collectedSlots) (i32.shl (i32.add (local.get $count) (local.get $past)) (i32.const 2)))
                (v128.load $codes offset=155664 (i32.add (local.get $at)
                  (i32.shl (i32.add (local.get $own) (local.get $past)) (i32.const 2)))))
              (local.set $past (i32.add (local.get $past) (i32.const 8)))
              (br_if $eight (i32.lt_u (local.get $past) (local.get $piece))))
            (local.set $count (i32.add (local.get $count) (local.get $piece)))
            (local.set $entry (i32.add (local.get $entry) (local.get $piece)))
            (local.set $left (i32.sub (local.get $left) (local.get $piece)))
            (br $pieces)))))
    (local.get $count))

  ;; How many of those chunks lie in each step by their partitions: added to `order`.
  (func (export "countSteps") (param $count i32)
    (local $at i32) (local $end i32) (local $own i32)
    (local.set $at (global.get $collectedPartitions))
    (local.set $end (i32.add (local.get $at) (i32.shl (local.get $count) (i32.const 1))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $own (i32.add (global.get $order)
          (i32.load (i32.add (global.get $partitionSteps) (i32.shl (i32.load16_u (local.get $at)) (i32.const 2))))))
        (i32.store (local.get $own) (i32.add (i32.load (local.get $own)) (i32.const 1)))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))
        (br $next))))

  ;; Puts them, with their partitions' scores, where `order` says, which is moved on: partition by partition, nearly, so that what is scanned
  ;; together lies together. Behind `room` bytes there is room for one of what is not wanted.
  (func (export "choose") (param $count i32) (param $room i32)
    (local $at i32) (local $own i32) (local $partition i32) (local $to i32)
    (local $slots i32) (local $scores i32)
    (local.set $slots (global.get $slots))
    (local.set $scores (global.get $scores))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $count)))
        (local.set $partition (i32.shl
          (i32.load16_u (i32.add (global.get $collectedPartitions) (i32.shl (local.get $at) (i32.const 1)))) (i32.const 2)))
        (local.set $own (i32.add (global.get $order) (i32.load (i32.add (global.get $partitionSteps) (local.get $partition)))))
        (local.set $to (i32.load (local.get $own)))
        (local.set $to (select (local.get $room) (local.get $to) (i32.gt_u (local.get $to) (local.get $room))))
        (i32.store (local.get $own) (i32.add (local.get $to) (i32.const 4)))
        (i32.store (i32.add (local.get $slots) (local.get $to))
          (i32.load (i32.add (global.get $collectedSlots) (i32.shl (local.get $at) (i32.const 2)))))
        (f32.store (i32.add (local.get $scores) (local.get $to))
          (f32.load (i32.add (global.get $partitionScores) (local.get $partition))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next))))

  (func $blockAt (param $block i32) (result i32)
    (i32.add
      (i32.mul (i32.shr_u (local.get $block) (i32.const 8)) (i32.const 434176))
      (i32.mul (i32.and (local.get $block) (i32.const 255)) (i32.const 576))))

  ;; Less 64, where the early components of a slot lie.
  (func $codeAt (param $slot i32) (result i32)
    (i32.add
      (i32.mul (i32.shr_u (local.get $slot) (i32.const 12)) (i32.const 434176))
      (i32.add
        (i32.mul (i32.and (i32.shr_u (local.get $slot) (i32.const 4)) (i32.const 255)) (i32.const 576))
        (i32.shl (i32.and (local.get $slot) (i32.const 15)) (i32.const 5)))))

  ;; Scans the codes of `count` slots from this one on. What each has as its score is that of its partition; to that comes `more`,
  ;; and `unit` times the sum of what the code has at each component times what lies along it. Most are far off, which a third of
  ;; the components tells: `late` is what the others add to that at most. What may be among the best `rows` of all that were seen
  ;; for a query is put after the first `seen` of those, and counted. Returns how many there are then.
  (func (export "scan")
    (param $from i32) (param $count i32) (param $unit f32) (param $more f32) (param $late f32)
    (param $rows i32) (param $seen i32) (result i32)
    (local $at i32) (local $end i32) (local $kept i32) (local $slot i32) (local $least f32)
    (local $code i32) (local $score f32) (local $own i32)
    (local $words v128) (local $others v128) (local $low v128)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local $slots i32) (local $scores i32)
    (local.set $slots (i32.add (global.get $slots) (i32.shl (local.get $from) (i32.const 2))))
    (local.set $scores (i32.add (global.get $scores) (i32.shl (local.get $from) (i32.const 2))))
    (local.set $low (v128.const i32x4 0x0f0f0f0f 0x0f0f0f0f 0x0f0f0f0f 0x0f0f0f0f))
    (local.set $a (v128.load (global.get $projections)))
    (local.set $b (v128.load offset=16 (global.get $projections)))
    (local.set $c (v128.load offset=32 (global.get $projections)))
    (local.set $d (v128.load offset=48 (global.get $projections)))
    (local.set $least (f32.sub (call $leastOf (global.get $step)) (local.get $late)))
    (local.set $end (i32.shl (local.get $count) (i32.const 2)))
    ;; Codes lie anywhere in memory: asked for all at once, they are waited for together.
    (block $asked
      (loop $next
        (br_if $asked (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $slot (i32.load (i32.add (local.get $slots) (local.get $at))))
        (local.set $kept (i32.add (local.get $kept) (i32.load $codes offset=64 (call $codeAt (local.get $slot)))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br $next)))
    (global.set $prefetched (local.get $kept))
    (local.set $kept (i32.const 0))
    (local.set $at (i32.const 0))
    ;; The early components of all: what is left follows each other from the start. Written in any case, as above.
    (block $early
      (loop $next
        (br_if $early (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $slot (i32.load (i32.add (local.get $slots) (local.get $at))))
        (local.set $code (call $codeAt (local.get $slot)))
        (local.set $words (v128.load $codes offset=64 (local.get $code)))
        (local.set $others (v128.load $codes offset=80 (local.get $code)))
        (local.set $score (f32.add
          (f32.add (f32.load (i32.add (local.get $scores) (local.get $at))) (local.get $more))
          (f32.mul (local.get $unit) (call $sum (i32x4.add
            (i32x4.relaxed_dot_i8x16_i7x16_add_s
              (local.get $a) (v128.and (local.get $words) (local.get $low))
              (i32x4.relaxed_dot_i8x16_i7x16_add_s
                (local.get $b) (v128.and (i16x8.shr_u (local.get $words) (i32.const 4)) (local.get $low))
                (v128.const i32x4 0 0 0 0)))
            (i32x4.relaxed_dot_i8x16_i7x16_add_s
              (local.get $c) (v128.and (local.get $others) (local.get $low))
              (i32x4.relaxed_dot_i8x16_i7x16_add_s
                (local.get $d) (v128.and (i16x8.shr_u (local.get $others) (i32.const 4)) (local.get $low))
                (v128.const i32x4 0 0 0 0))))))))
        (i32.store (i32.add (local.get $slots) (local.get $kept)) (local.get $slot))
        (f32.store (i32.add (local.get $scores) (local.get $kept)) (local.get $score))
        (local.set $kept (i32.add (local.get $kept) (i32.shl
          (f32.ge (local.get $score) (local.get $least)) (i32.const 2))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br $next)))
    (local.set $least (call $leastOf (global.get $step)))
    (local.set $seen (i32.shl (local.get $seen) (i32.const 2)))
    ;; What is left lies strewn, and is asked for all at once, too.
    (local.set $at (i32.const 0))
    (block $asked
      (loop $next
        (br_if $asked (i32.ge_u (local.get $at) (local.get $kept)))
        (local.set $slot (i32.load (i32.add (local.get $slots) (local.get $at))))
        (local.set $own (i32.add (local.get $own) (i32.load $codes offset=172032 (i32.add
          (i32.mul (i32.shr_u (local.get $slot) (i32.const 12)) (i32.const 434176))
          (i32.shl (i32.and (local.get $slot) (i32.const 4095)) (i32.const 6))))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br $next)))
    (global.set $prefetched (local.get $own))
    (local.set $at (i32.const 0))
    (block $late
      (loop $next
        (br_if $late (i32.ge_u (local.get $at) (local.get $kept)))
        (local.set $slot (i32.load (i32.add (local.get $slots) (local.get $at))))
        (local.set $code (i32.add
          (i32.mul (i32.shr_u (local.get $slot) (i32.const 12)) (i32.const 434176))
          (i32.shl (i32.and (local.get $slot) (i32.const 4095)) (i32.const 6))))
        (local.set $score (f32.add
          (f32.load (i32.add (local.get $scores) (local.get $at)))
          (f32.mul (local.get $unit) (call $sum (i32x4.add
            (call $group (v128.load $codes offset=172032 (local.get $code)) (i32.const 64)
              (call $group (v128.load $codes offset=172048 (local.get $code)) (i32.const 96)
                (v128.const i32x4 0 0 0 0)))
            (call $group (v128.load $codes offset=172064 (local.get $code)) (i32.const 128)
              (call $group (v128.load $codes offset=172080 (local.get $code)) (i32.const 160)
                (v128.const i32x4 0 0 0 0))))))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $next (f32.lt (local.get $score) (local.get $least)))
        (i32.store (i32.add (global.get $hitSlots) (local.get $seen)) (local.get $slot))
        (f32.store (i32.add (global.get $hitScores) (local.get $seen)) (local.get $score))
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

  ;; A group of components, and what lies along them from this byte on, added to `more`.
  (func $group (param $words v128) (param $components i32) (param $more v128) (result v128)
    (local $low v128)
    (local.set $low (v128.const i32x4 0x0f0f0f0f 0x0f0f0f0f 0x0f0f0f0f 0x0f0f0f0f))
    (local.set $components (i32.add (global.get $projections) (local.get $components)))
    (i32x4.relaxed_dot_i8x16_i7x16_add_s
      (v128.load (local.get $components)) (v128.and (local.get $words) (local.get $low))
      (i32x4.relaxed_dot_i8x16_i7x16_add_s
        (v128.load offset=16 (local.get $components))
        (v128.and (i16x8.shr_u (local.get $words) (i32.const 4)) (local.get $low))
        (local.get $more))))

  ;; Leaves the best `rows` of the `seen` that were seen; of those in the last step the first. Returns how many there are then.
  (func (export "keepBest") (param $seen i32) (param $rows i32) (result i32)
    (local $at i32) (local $to i32) (local $level i32) (local $own i32)
    (local.set $level (i32.sub (local.get $rows) (global.get $above)))
    (local.set $seen (i32.shl (local.get $seen) (i32.const 2)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $seen)))
        (i32.store (i32.add (global.get $hitSlots) (local.get $to))
          (i32.load (i32.add (global.get $hitSlots) (local.get $at))))
        (f32.store (i32.add (global.get $hitScores) (local.get $to))
          (f32.load (i32.add (global.get $hitScores) (local.get $at))))
        (local.set $own (call $stepOf (f32.load (i32.add (global.get $hitScores) (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $next (i32.lt_s (local.get $own) (global.get $step)))
        (if (i32.eq (local.get $own) (global.get $step)) (then
          (br_if $next (i32.le_s (local.get $level) (i32.const 0)))
          (local.set $level (i32.sub (local.get $level) (i32.const 1)))))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))
        (br $next)))
    (i32.shr_u (local.get $to) (i32.const 2)))

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
