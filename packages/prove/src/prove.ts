import { createHash, randomBytes } from 'node:crypto'
import { createDigest } from './digest.ts'
import { removePlanted } from './planted.ts'
import type { Probe, Seen } from './probe.ts'
import { crowd } from './probes/crowd.ts'
import { oddQuestions } from './probes/odd.ts'
import { afterwards, pending, revocation } from './probes/revocation.ts'
import { strangers } from './probes/strangers.ts'
import { completeness, survey } from './probes/survey.ts'
import { byId, twins } from './probes/twins.ts'
import { createRandom } from './random.ts'
import type { Check, Finding, Report } from './report.ts'
import {
  createSession,
  Inconclusive,
  kindOf,
  messageOf,
  type Session,
  type Sizes,
  type Subject,
} from './session.ts'
import { holm, leastP, upperBound } from './statistics.ts'
import { version } from './version.ts'

/** The chance that a run without any leak reports that something can be told. */
const falseAlarm = 0.01

export const defaultSizes: Sizes = {
  answers: 2_000,
  k: 100,
  concurrency: 8,
  words: 16,
  repeats: 5,
  crowd: 300,
  revocations: 30,
  boundMs: 0,
  watchMs: 5_000,
  patienceMs: 60_000,
}

/** In this order: what is taken away early is looked for once more at the end. */
export const probes: readonly Probe[] = [
  survey,
  completeness,
  oddQuestions,
  strangers,
  revocation,
  pending,
  crowd,
  twins,
  byId,
  afterwards,
]

export interface ProveOptions {
  readonly sizes?: Partial<Sizes>
  /** Default: drawn. */
  readonly seed?: number
  /** Of the digests in the report. */
  readonly key: string
  readonly timeoutMs?: number
  /** Ends the run; what was planted is removed first. */
  readonly signal?: AbortSignal
  /** Only these checks. */
  readonly only?: readonly string[]
  /** What goes on, and why something failed: not for a report. */
  readonly tell?: (line: string) => void
}

/**
 * Tries all that can be tried, removes what it planted, and says what it saw. A check that fails is
 * inconclusive, with what the others found beside it.
 *
 * @throws where a person for planted documents is real.
 */
export async function prove(subject: Subject, options: ProveOptions): Promise<Report> {
  const { key, timeoutMs = 30_000, signal, only, tell } = options
  const seed = options.seed ?? randomBytes(4).readUInt32BE()
  const run = randomBytes(4).toString('hex')
  const trace = createHash('sha256').update(`remit-prove ${run}`).digest('hex').slice(0, 32)
  const sizes = { ...defaultSizes, ...options.sizes }
  const random = createRandom(seed)
  const session = createSession({
    ...{ subject, sizes, random, run, trace, timeoutMs, digest: createDigest(key) },
    ...(signal !== undefined && { stop: signal }),
  })
  const started = new Date()
  await refuseReal(session)
  const drafts: Draft[] = []
  for (const probe of probes) {
    if (only !== undefined && !only.includes(probe.id)) continue
    tell?.(probe.id)
    const reason = probe.missing?.(session)
    drafts.push(reason === undefined ? await attempt(probe, session, tell) : { probe, reason })
    // Where it ends, or the survey already fails, nothing that follows would say anything.
    if (signal?.aborted === true || (probe === survey && drafts.at(-1)?.isInconclusive === true)) break
  }
  const left = await removePlanted(session)
  judge(session, drafts)
  const { requests, passages } = session.counts
  return {
    tool: 'remit-prove',
    version,
    endpoint: subject.adapter.name,
    run,
    trace,
    seed,
    started: started.toISOString(),
    seconds: (Date.now() - started.getTime()) / 1000,
    requests,
    passages,
    checks: [...drafts.map((draft) => toCheck(draft, session.findings)), hiddenWords(session)],
    findings: session.findings,
    left,
  }
}

interface Draft {
  readonly probe: Probe
  /** Undefined: it was not tried, for this reason. */
  readonly seen?: Seen
  reason?: string
  isInconclusive?: boolean
  /** After Holm's correction. */
  p?: number
}

async function attempt(probe: Probe, session: Session, tell: ProveOptions['tell']): Promise<Draft> {
  try {
    return { probe, seen: await probe.try(session) }
  } catch (error) {
    tell?.(messageOf(error))
    const reason = error instanceof Inconclusive ? error.message : `It failed (${kindOf(error)}).`
    return { probe, reason, isInconclusive: true }
  }
}

/** What is revoked and planted is for people who are invented: a real one would notice. */
async function refuseReal({ canaryPeople, people, truth }: Session): Promise<void> {
  for (const person of canaryPeople ?? [])
    if (people.includes(person) || (await truth.knows?.(person)) === true)
      throw new Error(`A person for planted documents must be invented, and this one is real: ${person}`)
}

/** All tests of the run share one chance of a false alarm. Where none could reach it, nothing was tried. */
function judge(session: Session, drafts: readonly Draft[]): void {
  const tests = drafts.flatMap((draft) => (draft.seen?.tests ?? []).map((test) => ({ draft, ...test })))
  const corrected = holm(tests.map(({ p }) => p))
  if (leastP(session.sizes.words) * tests.length > falseAlarm)
    for (const draft of new Set(tests.map((test) => test.draft))) {
      draft.isInconclusive = true
      draft.reason = `${session.sizes.words} words for each way of hiding are too few to tell anything.`
    }
  tests.forEach(({ draft, what }, index) => {
    const p = corrected[index] ?? 1
    draft.p = Math.min(draft.p ?? 1, p)
    if (p <= falseAlarm)
      session.found(
        draft.probe.id,
        'oracle',
        `That something is hidden can be told by: ${what}. By chance alone: p = ${p.toPrecision(2)}.`,
      )
  })
}

function toCheck(draft: Draft, findings: readonly Finding[]): Check {
  const { seen, reason, isInconclusive = false, p } = draft
  const { id, kind, claim, unit } = draft.probe
  const { trials = 0, failures = 0, notes = [], isDrawn = false } = seen ?? {}
  const isBroken = findings.some(({ check }) => check === id)
  return {
    id,
    kind,
    claim,
    unit,
    state: isBroken ? 'broken' : isInconclusive ? 'inconclusive' : trials === 0 ? 'not_tried' : 'held',
    trials,
    failures,
    upper95: isDrawn ? upperBound(failures, trials) : null,
    p: p ?? null,
    notes: reason === undefined ? notes : [reason],
  }
}

/** It has no probe: every answer of the run is looked through. */
function hiddenWords({ findings, counts }: Session): Check {
  const failures = findings.filter(({ check }) => check === 'hidden-words').length
  return {
    id: 'hidden-words',
    kind: 'leak',
    claim:
      'No answer holds an id or words of a planted document that this person may not read, in any place.',
    unit: 'answers',
    state: failures > 0 ? 'broken' : counts.searched === 0 ? 'not_tried' : 'held',
    trials: counts.searched,
    failures,
    upper95: null,
    p: null,
    notes: counts.searched === 0 ? ['no check that ran hid an invented document'] : [],
  }
}
