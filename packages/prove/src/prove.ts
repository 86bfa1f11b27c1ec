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
import { createSession, Inconclusive, type Session, type Sizes, type Subject } from './session.ts'
import { holm, upperBound } from './statistics.ts'
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
  /** Only these. */
  readonly only?: readonly string[]
  readonly tell?: (line: string) => void
}

/**
 * Tries all that can be tried, removes what it planted, and says what it saw.
 *
 * @throws Inconclusive where the endpoint does not answer well enough to say anything.
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
  const drafts: Draft[] = []
  try {
    await refuseReal(session)
    for (const probe of probes) {
      if (only !== undefined && !only.includes(probe.id)) continue
      tell?.(probe.id)
      signal?.throwIfAborted()
      const reason = probe.missing?.(session)
      drafts.push(reason === undefined ? await attempt(probe, session) : { probe, reason })
    }
  } finally {
    await removePlanted(session)
  }
  judge(session, drafts)
  return {
    tool: 'remit-prove',
    version,
    endpoint: subject.adapter.name,
    run,
    trace,
    seed,
    started: started.toISOString(),
    seconds: (Date.now() - started.getTime()) / 1000,
    ...session.counts,
    checks: [...drafts.map((draft) => toCheck(draft, session.findings)), hiddenWords(session)],
    findings: session.findings,
  }
}

interface Draft {
  readonly probe: Probe
  /** Undefined: it was not tried, for this reason. */
  readonly seen?: Seen
  readonly reason?: string
  readonly isInconclusive?: boolean
  /** After Holm's correction. */
  p?: number
}

/** Where the survey already fails, nothing that follows would say anything. */
async function attempt(probe: Probe, session: Session): Promise<Draft> {
  try {
    return { probe, seen: await probe.try(session) }
  } catch (error) {
    if (!(error instanceof Inconclusive) || probe === survey) throw error
    return { probe, reason: error.message, isInconclusive: true }
  }
}

/** What is revoked and planted is for people who are invented: a real one would notice. */
async function refuseReal({ canaryPeople, people, truth }: Session): Promise<void> {
  for (const person of canaryPeople ?? [])
    if (people.includes(person) || (await truth.knows?.(person)) === true)
      throw new Error(`A person for planted documents must be invented, and this one is real: ${person}`)
}

/** All tests of the run share one chance of a false alarm. */
function judge(session: Session, drafts: readonly Draft[]): void {
  const tests = drafts.flatMap((draft) => (draft.seen?.tests ?? []).map((test) => ({ draft, ...test })))
  const corrected = holm(tests.map(({ p }) => p))
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
  const { trials = 0, failures = 0, notes = [], tests } = seen ?? {}
  const isBroken = findings.some(({ check }) => check === id)
  return {
    id,
    kind,
    claim,
    unit,
    state: isBroken ? 'broken' : isInconclusive ? 'inconclusive' : trials === 0 ? 'not tried' : 'held',
    trials,
    failures,
    upper95: trials === 0 || tests !== undefined ? null : upperBound(failures, trials),
    p: p ?? null,
    notes: reason === undefined ? notes : [reason],
  }
}

/** It has no probe: every answer of the run is looked through. */
function hiddenWords({ findings, counts, adapter }: Session): Check {
  const failures = findings.filter(({ check }) => check === 'hidden-words').length
  return {
    id: 'hidden-words',
    kind: 'leak',
    claim:
      'No answer holds an id or words of a planted document that this person may not read, in any place.',
    unit: 'answers',
    state: failures > 0 ? 'broken' : adapter.canary === undefined ? 'not tried' : 'held',
    trials: counts.requests,
    failures,
    upper95: null,
    p: null,
    notes: [],
  }
}
