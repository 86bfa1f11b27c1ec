import type { RecordEntry, RecordPage } from '@remit/contract/audit'
import type { Thread as ThreadAnswer } from '@remit/contract/record-questions'
import type { Api } from '../../api.ts'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { counted } from '../../parts/counted.ts'
import { Heading } from '../../parts/heading.tsx'
import { Id, Ids, Tuple } from '../../parts/id.tsx'
import { Fact } from '../../parts/part.tsx'
import { Time } from '../../parts/time.tsx'
import { actionPath, explainPath, recordPath, whoCanPath } from '../../paths.ts'
import { Link, withQuery } from '../../router.tsx'
import { useAnswer, useConsole } from '../../use-answer.ts'
import { idsIn, type Released, releasedIn } from './entry.ts'

interface Thread {
  /** Oldest first. */
  readonly entries: readonly RecordEntry[]
  readonly isWhole: boolean
  /** How each delegation came about that it rests on, and the model that was in force when something left. */
  readonly grounds: readonly RecordEntry[]
}

const styles: Readonly<Record<string, string>> = { allowed: 'tag good', denied: 'tag bad', error: 'tag warn' }

const delegationsMax = 5

async function readThread(api: Api, txn: string, signal: AbortSignal): Promise<Thread> {
  const {
    steps,
    names,
    complete: isWhole,
  } = await api.get<ThreadAnswer>(withQuery('/audit/thread', { txn }), signal)
  const entries = steps.map((step): RecordEntry => ({ ...step, names }))
  const named = [...new Set(entries.flatMap(({ delegation }) => delegation ?? []))].slice(0, delegationsMax)
  const lastRelease = entries.findLast((entry) => releasedIn(entry).length > 0)
  const pages = await Promise.all(
    [
      ...named.map((id) => ({ object: `delegation:${id}`, event: 'delegation_made' })),
      ...(lastRelease === undefined
        ? []
        : [{ event: 'model_activated', until: lastRelease.time, limit: '1' }]),
    ].map((filter) => api.get<RecordPage>(withQuery('/audit', filter), signal)),
  )
  const sequences = new Set(entries.map(({ seq }) => seq))
  return {
    entries,
    isWhole,
    grounds: pages
      .flatMap(({ records }) => records)
      .filter(({ seq }) => !sequences.has(seq))
      .sort((entry, otherEntry) => entry.seq - otherEntry.seq),
  }
}

/**
 * Everything under one txn, in order: from what was lent or agreed to, through each exchange, to what left.
 */
export function Action({ txn }: { readonly txn: string }) {
  const answer = useAnswer(`action ${txn}`, (api, signal) => readThread(api, txn, signal))
  return (
    <>
      <Heading title={`Action ${txn}`}>
        Action <code>{txn}</code>
      </Heading>
      <AsyncAnswer answer={answer} subject="what is on record">
        {(thread) => <Steps thread={thread} txn={txn} />}
      </AsyncAnswer>
    </>
  )
}

function Steps({ thread, txn }: { readonly thread: Thread; readonly txn: string }) {
  const { entries, grounds, isWhole } = thread
  const [firstEntry] = entries
  if (firstEntry === undefined) return <p role="status">Nothing is on record under it.</p>
  const releasedCount = entries.reduce((sum, entry) => sum + releasedIn(entry).length, 0)
  return (
    <>
      <p role="status" class="soft">
        {counted(entries.length, 'record')}
        {isWhole ? '' : ' of more, those of this action first'}; {leavesSaid(releasedCount)}. Times in UTC.
      </p>
      {grounds.length > 0 && (
        <>
          <h2>What it rests on</h2>
          <ol class="steps">
            {grounds.map((entry) => (
              <Step key={entry.seq} entry={entry} isOther={false} />
            ))}
          </ol>
        </>
      )}
      <h2>What happened</h2>
      <ol class="steps">
        {entries.map((entry) => (
          <Step key={entry.seq} entry={entry} isOther={entry.txn !== txn} />
        ))}
      </ol>
    </>
  )
}

/** `isOther`: of another action, to which a trace leads. */
function Step({ entry, isOther }: { readonly entry: RecordEntry; readonly isOther: boolean }) {
  const { time, event, decision, subject, actors, client, delegation, tool, trace_id: trace, names } = entry
  const released = releasedIn(entry)
  return (
    <li>
      <p class="step">
        <Time time={time} isExact /> <strong>{event}</strong> <Decision decision={decision} />
      </p>
      {released.length > 0 && <Left entry={entry} released={released} />}
      <dl class="facts">
        <Fact title={actors.length === 0 ? 'By' : 'For'}>
          <Id id={subject} name={names[subject]} />
        </Fact>
        {actors.length > 0 && (
          <Fact title="Through">
            {actors.map((actor, index) => (
              <span key={actor}>
                {index > 0 && ' ← '}
                <Id id={actor} name={names[actor]} />
              </span>
            ))}
          </Fact>
        )}
        <Fact title="Client">
          <Link to={recordPath({ client })}>
            <code>{client}</code>
          </Link>
          {names[client] !== undefined && <span class="soft"> {names[client]}</span>}
        </Fact>
        {isOther && (
          <Fact title="Action">
            <Link to={actionPath(entry.txn)}>
              <code>{entry.txn}</code>
            </Link>{' '}
            <span class="soft">of the same trace</span>
          </Fact>
        )}
        {delegation !== undefined && (
          <Fact title="Delegation">
            <Id id={`delegation:${delegation}`} />
          </Fact>
        )}
        {tool !== undefined && <Fact title="Tool">{tool}</Fact>}
        {trace !== undefined && (
          <Fact title="Trace">
            <code>{trace}</code>
          </Fact>
        )}
        <Details entry={entry} />
      </dl>
    </li>
  )
}

const Details = ({ entry: { detail, delegation } }: { readonly entry: RecordEntry }) => (
  <>
    {Object.entries(detail)
      // Said already, in a form of its own.
      .filter(([member, value]) => member !== 'released' || value === null)
      .filter(([member, value]) => member !== 'delegation' || value !== delegation)
      .map(([member, value]) => (
        <Fact key={member} title={member.replaceAll('_', ' ')}>
          <Value member={member} value={value} />
        </Fact>
      ))}
  </>
)

function Value({ member, value }: { readonly member: string; readonly value: unknown }) {
  const ids = idsIn(member, value)
  if (ids !== undefined) return <Ids ids={ids} />
  if (member.endsWith('_at') && typeof value === 'string') return <Time time={value} />
  if (Array.isArray(value) && value.length === 0) return <span class="soft">none</span>
  if (Array.isArray(value) && value.every((entryText) => typeof entryText === 'string'))
    return (
      <ul class="plain">
        {value.map((entryText) => (
          <li key={entryText}>
            <code>{entryText}</code>
          </li>
        ))}
      </ul>
    )
  if (value === null) return <span class="soft">nothing</span>
  return <code>{typeof value === 'string' ? value : JSON.stringify(value)}</code>
}

/** What left, and the two questions that follow: why could it, and who else can. */
function Left({ entry, released }: { readonly entry: RecordEntry; readonly released: readonly Released[] }) {
  const { leadsTo } = useConsole()
  const [actor] = entry.actors
  return (
    <div class="left">
      <p>{released.length === 1 ? 'One document was' : `${released.length} documents were`} released:</p>
      <ul>
        {released.map(({ document_id: id, chunk_ids: chunks, proof, grants = [], why: reasons = [] }) => (
          <li key={id}>
            <Id id={`document:${id}`} />
            <span class="soft">
              {chunks !== undefined && ` · ${counted(chunks.length, 'passage')}`} ·{' '}
              {proof.replaceAll('_', ' ')}
            </span>
            {grants.map((grant) => (
              <span key={grant}>
                {' '}
                · <Id id={`grant:${grant}`} />
              </span>
            ))}
            {leadsTo('/explain') && (
              <>
                {' '}
                ·{' '}
                <Link
                  to={explainPath({
                    user: entry.subject,
                    agent: actor?.replace(/^agent:/, ''),
                    delegation: entry.delegation,
                    object: `document:${id}`,
                  })}
                >
                  why now
                </Link>
              </>
            )}
            {leadsTo('/who-can') && (
              <>
                {' '}
                · <Link to={whoCanPath(`document:${id}`)}>who can</Link>
              </>
            )}
            {reasons.length > 0 && <Then id={id} why={reasons} until={entry.time} />}
          </li>
        ))}
      </ul>
    </div>
  )
}

const leavesSaid = (count: number): string =>
  count === 0
    ? 'nothing was released'
    : `${count === 1 ? 'one document was' : `${count} documents were`} released`

/**
 * The stored tuples that a release rested on when it was decided, each with what is on record of it up to
 * then.
 */
const Then = (props: { readonly id: string; readonly why: readonly string[]; readonly until: string }) => (
  <>
    <p class="soft">It was allowed then by</p>
    <ul aria-label={`What ${props.id} rested on then`}>
      {props.why.map((tuple) => (
        <li key={tuple}>
          <Tuple tuple={tuple} /> ·{' '}
          <Link to={recordPath({ object: objectOf(tuple), decision: 'none', until: props.until })}>
            how it came about
          </Link>
        </li>
      ))}
    </ul>
  </>
)

/** Of `user:anne viewer document:plan until …`. */
const objectOf = (tuple: string): string => tuple.split(' ')[2] ?? ''

/** A decision of the record as a tag; `none` is a dash. */
export const Decision = ({ decision }: { readonly decision: string }) =>
  decision === 'none' ? (
    <span class="soft">–</span>
  ) : (
    <span class={styles[decision] ?? 'tag'}>{decision}</span>
  )
