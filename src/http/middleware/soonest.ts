/** Something that is due at a time. */
interface Due {
  readonly key: string
  readonly at: number
}

/** What is due next, of many: a binary heap. */
export function createSoonest() {
  const heap: Due[] = []
  const atOf = (place: number): number => heap[place]?.at ?? Number.POSITIVE_INFINITY
  const swap = (a: number, b: number): void => {
    const [one, other] = [heap[a], heap[b]]
    if (one === undefined || other === undefined) return
    heap[a] = other
    heap[b] = one
  }
  return {
    add(due: Due): void {
      let place = heap.push(due) - 1
      for (
        let parent = (place - 1) >> 1;
        place > 0 && atOf(place) < atOf(parent);
        parent = (place - 1) >> 1
      ) {
        swap(place, parent)
        place = parent
      }
    },
    /** Takes out what is due first. */
    take(): Due | undefined {
      const [first] = heap
      const last = heap.pop()
      if (last === undefined || heap.length === 0) return first
      heap[0] = last
      for (let place = 0; ; ) {
        const left = 2 * place + 1
        const child = atOf(left) <= atOf(left + 1) ? left : left + 1
        if (atOf(child) >= atOf(place)) return first
        swap(place, child)
        place = child
      }
    },
  }
}
