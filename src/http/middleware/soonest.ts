/** Something that is due at a time. */
interface Due {
  readonly key: string
  readonly at: number
}

/** What is due next, of many: a binary heap. */
export function createSoonest() {
  const heap: Due[] = []
  const atOf = (index: number): number => heap[index]?.at ?? Number.POSITIVE_INFINITY
  const swap = (a: number, b: number): void => {
    const [dueA, dueB] = [heap[a], heap[b]]
    if (dueA === undefined || dueB === undefined) return
    heap[a] = dueB
    heap[b] = dueA
  }
  return {
    add(due: Due): void {
      let index = heap.push(due) - 1
      for (
        let parent = (index - 1) >> 1;
        index > 0 && atOf(index) < atOf(parent);
        parent = (index - 1) >> 1
      ) {
        swap(index, parent)
        index = parent
      }
    },
    /** Takes out what is due first. */
    take(): Due | undefined {
      const [top] = heap
      const bottom = heap.pop()
      if (bottom === undefined || heap.length === 0) return top
      heap[0] = bottom
      for (let index = 0; ; ) {
        const leftChild = 2 * index + 1
        const child = atOf(leftChild) <= atOf(leftChild + 1) ? leftChild : leftChild + 1
        if (atOf(child) >= atOf(index)) return top
        swap(index, child)
        index = child
      }
    },
  }
}
