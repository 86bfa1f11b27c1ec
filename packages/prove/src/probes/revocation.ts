import { setTimeout as sleep } from 'node:timers/promises'
import { holds, plantedOf } from '../planted.ts'
import { needsCanary, type Probe, type Seen } from '../probe.ts'
import type { Session } from '../session.ts'
import { quantile } from '../statistics.ts'

/** What was taken away in this run: asked for once more at its end. */
const taken = new WeakMap<Session, { readonly query: string; readonly document: string }[]>()

const takenIn = (session: Session) => {
  const known = taken.get(session) ?? []
  taken.set(session, known)
  return known
}

const ways = ['taken off the readers', 'removed', 'replaced by another text for others'] as const

/** Somebody reads, is taken off, and asks at once, and again and again. */
export const revocation: Probe = {
  id: 'revocation',
  kind: 'leak',
  claim:
    'What was taken away is in no answer that is asked for after the change was acknowledged, and the stated bound.',
  unit: 'changes',
  missing: needsCanary,
  async try(session): Promise<Seen> {
    const { random, sizes } = session
    const planted = plantedOf(session)
    const { asker, owner } = planted
    const [late, soonest]: [number[], number[]] = [[], []]
    let failures = 0
    for (let turn = 0; turn < sizes.revocations; turn += 1) {
      const way = ways[turn % ways.length] ?? ways[0]
      const query = random.word()
      const document = planted.name()
      const text = (secret: string) => `${query} ${query} ${secret}.`
      const [first, second] = [random.word(8), random.word(8)]
      await planted.put({ id: document, text: text(first), readers: [asker, owner] })
      await planted.awaitFound(asker, query, document)
      // So that whatever remembers answers or verdicts has something to remember.
      for (let warm = 0; warm < 2; warm += 1) {
        await session.askWell(asker, query)
        if (session.adapter.read) await session.read(asker, document)
      }
      if (way === 'removed') await planted.remove(document)
      else if (way === 'taken off the readers') await planted.setReaders(document, [owner])
      else {
        session.forbid(asker, second, 'the text of a version for others')
        await planted.put({ id: document, text: text(second), readers: [owner] })
      }
      const acknowledged = performance.now()
      takenIn(session).push({ query, document })
      const { after, asked } = await timeUntilGone(session, asker, query, document, acknowledged)
      late.push(after)
      soonest.push(asked)
      if (after <= sizes.boundMs) continue
      failures += 1
      session.found(
        'revocation',
        'leak',
        `A document that was ${way} was in an answer that was asked for ${Math.ceil(after)} ms after the acknowledgement.`,
        { person: asker, document },
      )
    }
    const worst = Math.max(0, ...late)
    return {
      trials: sizes.revocations,
      failures,
      notes: [
        `last seen after the acknowledgement: median ${quantile(late, 0.5).toFixed(0)}, p95 ${quantile(late, 0.95).toFixed(0)}, worst ${worst.toFixed(0)} ms (the question's own start); the bound is ${sizes.boundMs} ms`,
        `first asked: median ${quantile(soonest, 0.5).toFixed(0)}, worst ${Math.max(0, ...soonest).toFixed(0)} ms after it`,
      ],
    }
  },
}

/**
 * Milliseconds from the acknowledgement to the start of the last request that was given it, 0 for none; and
 * of the first one: what ended before that was not seen, as where the endpoint made this wait.
 */
async function timeUntilGone(
  session: Session,
  person: string,
  query: string,
  document: string,
  acknowledged: number,
): Promise<{ readonly after: number; readonly asked: number }> {
  const { adapter, sizes } = session
  let [last, clean] = [0, 0]
  let first: number | undefined
  const note = (asked: number, isThere: boolean) => {
    if (isThere) last = Math.max(last, asked - acknowledged, Number.EPSILON)
    clean = isThere ? 0 : clean + 1
  }
  const passed = () => performance.now() - acknowledged
  // Several in a row without it: whatever remembers may stand behind one of many processes. Not before the
  // bound: only then it counts.
  while ((clean < 4 || passed() < sizes.boundMs) && passed() < sizes.boundMs + sizes.watchMs) {
    const answer = await session.askWell(person, query)
    first ??= answer.asked - acknowledged
    note(answer.asked, holds(answer, document))
    if (adapter.read !== undefined) {
      const whole = await session.read(person, document)
      note(whole.asked, whole.passages.length > 0)
    }
    if (clean === 0) await sleep(20)
  }
  return { after: last, asked: first ?? 0 }
}

/** Changes that overtake the one before them. */
export const pending: Probe = {
  id: 'pending',
  kind: 'leak',
  claim: 'A restriction that comes while a document is still being published is not lost.',
  unit: 'changes',
  missing: needsCanary,
  async try(session): Promise<Seen> {
    const { random, sizes } = session
    const planted = plantedOf(session)
    const { asker, owner } = planted
    const trials = 2 * Math.ceil(sizes.revocations / 3)
    let failures = 0
    for (let turn = 0; turn < trials; turn += 1) {
      const query = random.word()
      const document = planted.name()
      const secret = random.word(8)
      const text = `${query} ${query} ${secret}.`
      await planted.put({ id: document, text, readers: [asker, owner] })
      // At once: it waits to be published.
      if (turn % 2 === 0) await planted.setReaders(document, [owner])
      else await planted.put({ id: document, text: `${text} Again.`, readers: [owner] })
      session.forbid(asker, secret, 'the text of a document whose restriction came while it was pending')
      takenIn(session).push({ query, document })
      await planted.awaitFound(owner, query, document)
      await sleep(sizes.boundMs)
      const seen: boolean[] = []
      for (let again = 0; again < 3; again += 1) {
        seen.push(holds(await session.askWell(asker, query), document))
        if (session.adapter.read) seen.push((await session.read(asker, document)).passages.length > 0)
        await sleep(5)
      }
      if (!seen.includes(true)) continue
      failures += 1
      session.found('pending', 'leak', 'A restriction that came while a document was pending was lost.', {
        person: asker,
        document,
      })
    }
    return { trials, failures }
  },
}

/** At the end of the run. */
export const afterwards: Probe = {
  id: 'afterwards',
  kind: 'leak',
  claim: 'What was taken away does not come back by itself.',
  unit: 'documents',
  missing: needsCanary,
  async try(session): Promise<Seen> {
    const { asker } = plantedOf(session)
    const all = takenIn(session)
    await sleep(session.sizes.boundMs)
    let failures = 0
    for (const { query, document } of all) {
      if (!holds(await session.askWell(asker, query), document)) continue
      failures += 1
      session.found('afterwards', 'leak', 'A document that was taken away came back.', {
        person: asker,
        document,
      })
    }
    return { trials: all.length, failures }
  },
}
