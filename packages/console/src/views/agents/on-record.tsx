import type { Api } from '../../api.ts'
import { Asked } from '../../parts/asked.tsx'
import { Id } from '../../parts/id.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { recordPath } from '../../paths.ts'
import { Link, withQuery } from '../../router.tsx'
import { useAnswer } from '../../use-answer.ts'
import { Entries } from '../record/entries.tsx'
import type { Entry, EntryPage } from '../record/entry.ts'

const lentMax = 100

const ofAgent = (
  api: Api,
  query: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<EntryPage> => api.get(withQuery('/audit', query), signal)

interface Delegation {
  readonly id: string
  readonly made: Entry
  readonly state: 'live' | 'over' | 'revoked'
}

/** What people lent to it, newest first: from the record, which knows of each when it began and when it was taken back. */
export function Lent({ agent }: { readonly agent: string }) {
  const answer = useAnswer(`lent ${agent}`, async (api, signal) => {
    const query = { object: `agent:${agent}`, limit: String(lentMax) }
    const [made, revoked] = await Promise.all([
      ofAgent(api, { ...query, event: 'delegation_made' }, signal),
      ofAgent(api, { ...query, event: 'delegation_revoked' }, signal),
    ])
    return { lent: delegationsOf(made.records, revoked.records), isWhole: made.next_cursor === undefined }
  })
  return (
    <section aria-labelledby="lent">
      <h2 id="lent">What people lent to it</h2>
      <Asked answer={answer} what="what people lent to it">
        {({ lent, isWhole }) =>
          lent.length === 0 ? (
            <p>Nobody has lent anything to it.</p>
          ) : (
            <Table
              caption={`${lent.filter(({ state }) => state === 'live').length} live${isWhole ? '' : ` of the newest ${lentMax}`}, times in UTC`}
              rows={lent}
              keyOf={({ id }) => id}
              columns={[
                { title: 'Delegation', cell: ({ id }) => <Id id={`delegation:${id}`} /> },
                { title: 'Whose', cell: ({ made }) => <Id id={String(made.detail['lender'])} /> },
                { title: 'What', cell: ({ made }) => <Scope of={made} /> },
                { title: 'Since', cell: ({ made }) => <Time at={made.time} /> },
                { title: 'Until', cell: ({ made }) => <Time at={String(made.detail['expires_at'])} /> },
                {
                  title: 'State',
                  cell: ({ state }) => <span class={state === 'live' ? 'tag good' : 'tag'}>{state}</span>,
                },
              ]}
            />
          )
        }
      </Asked>
    </section>
  )
}

function delegationsOf(made: readonly Entry[], revoked: readonly Entry[]): readonly Delegation[] {
  const ended = new Set(revoked.map(({ detail }) => detail['delegation']))
  const now = Date.now()
  return made.map((one) => {
    const { delegation, expires_at: end } = one.detail
    const isOver = Date.parse(String(end)) <= now
    return {
      id: String(delegation),
      made: one,
      state: ended.has(delegation) ? 'revoked' : isOver ? 'over' : 'live',
    }
  })
}

const Scope = ({ of: { detail } }: { readonly of: Entry }) => (
  <ul class="plain">
    {[detail['scope']].flat().map((object) => (
      <li key={String(object)}>
        <Id id={String(object)} />
      </li>
    ))}
  </ul>
)

const readMax = 10

/** What it did last, in whose name. */
export function Read({ agent }: { readonly agent: string }) {
  const actor = `agent:${agent}`
  const answer = useAnswer(`read ${agent}`, (api, signal) =>
    ofAgent(api, { actor, limit: String(readMax) }, signal),
  )
  return (
    <section aria-labelledby="read">
      <h2 id="read">What it did last</h2>
      <Asked answer={answer} what="what it did">
        {({ records, next_cursor: next }) =>
          records.length === 0 ? (
            <p>Nothing is on record.</p>
          ) : (
            <>
              <Entries entries={records} />
              {next !== undefined && (
                <p>
                  <Link to={recordPath({ actor })}>All that is on record of it</Link>
                </p>
              )}
            </>
          )
        }
      </Asked>
    </section>
  )
}
