import { setImmediate as giveWay } from 'node:timers/promises'

/** Many times what a document has with all the metadata and all the readers that it may have. */
export const partsMax = 200_000

const [quote, backslash, comma, list, object] = [0x22, 0x5c, 0x2c, 0x5b, 0x7b]

/**
 * Characters that are read before whoever else waits for this thread has their turn: some ten milliseconds.
 */
const perTurn = 1_000_000

/**
 * Whether a JSON text has more lists, objects and commas than anything that is meant for us. Each that is
 * parsed costs the thread that serves requests time and memory: 20 MB of nothing else stop it for seconds. A
 * long text is read in several turns of the event loop. Does NOT check that it is JSON.
 */
export async function hasTooManyParts(text: string): Promise<boolean> {
  // Each takes a character.
  if (text.length <= partsMax) return false
  let partCount = 0
  let isQuoted = false
  let turnEnd = perTurn
  for (let index = 0; index < text.length && partCount <= partsMax; index++) {
    if (index >= turnEnd) {
      await giveWay()
      turnEnd += perTurn
    }
    const code = text.charCodeAt(index)
    if (code === quote) isQuoted = !isQuoted
    else if (isQuoted) index += code === backslash ? 1 : 0
    else if (code === comma || code === list || code === object) partCount += 1
  }
  return partCount > partsMax
}
