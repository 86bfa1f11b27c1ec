import type { RecordPage } from '@remit/contract/audit'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { readsPath, recordPath } from '../../paths.ts'
import { go, Link, withQuery } from '../../router.tsx'
import { useAnswer } from '../../use-answer.ts'
import { DelegationTable } from '../delegations/list.tsx'
import { Entries } from '../record/entries.tsx'

/** To what it read for one person, and what of it would be refused today. */
export const ReadFor = ({ agent }: { readonly agent: string }) => (
  <section aria-labelledby="read-for">
    <h2 id="read-for">What did it read for somebody?</h2>
    <form
      class="line"
      onSubmit={(event) => {
        event.preventDefault()
        const subject = String(new FormData(event.currentTarget).get('subject')).trim()
        go(readsPath({ subject, agent: `agent:${agent}`, today: 'true' }))
      }}
    >
      <label>
        For whom
        <input
          type="text"
          name="subject"
          placeholder="user:anne"
          required
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
        />
      </label>
      <button type="submit">What it read for them</button>
    </form>
  </section>
)

/** What people lent to it, or to another agent that may pass it on to this one, newest first. */
export const DelegationsToAgent = ({ agent }: { readonly agent: string }) => (
  <section aria-labelledby="lent">
    <h2 id="lent">What people lent to it</h2>
    <p class="soft">
      Also what they lent to another agent that may pass it on to this one, as its sub-agent.
    </p>
    <DelegationTable
      filter={{ agent: `agent:${agent}`, limit: '20' }}
      none="Nobody has lent anything to it."
    />
  </section>
)

const readMax = '10'

/** What it did last, in whose name. */
export function RecentDecisions({ agent }: { readonly agent: string }) {
  const actor = `agent:${agent}`
  const answer = useAnswer(`read ${agent}`, (api, signal) =>
    api.get<RecordPage>(withQuery('/audit', { actor, limit: readMax }), signal),
  )
  return (
    <section aria-labelledby="read">
      <h2 id="read">What it did last</h2>
      <AsyncAnswer answer={answer} subject="what it did">
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
      </AsyncAnswer>
    </section>
  )
}
