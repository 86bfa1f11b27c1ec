import { useState } from 'preact/hooks'
import type { Problem } from '../../api.ts'
import { Asked as AskedFor } from '../../parts/asked.tsx'
import { Heading } from '../../parts/heading.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { Table } from '../../parts/table.tsx'
import { Link } from '../../router.tsx'
import type { Section } from '../../shell.tsx'
import { asProblem, useAnswer, useConsole } from '../../use-answer.ts'
import { type Asked, AskForm, addressWith, askedOf, Field } from './ask-form.tsx'
import type { Replica } from './reason.ts'
import { ReplicaNote } from './replica.tsx'
import './why.css'

interface Subject {
  readonly kind: 'person' | 'everyone' | 'excluded'
  readonly user: string
  readonly via: string | null
}

interface Page {
  readonly subjects: readonly Subject[]
  readonly cursor: string | null
  readonly complete: boolean
  readonly replica: Replica
  readonly txn: string
}

/** `/who-can?relation=…&object=…` */
export const whoCanViews: Section = {
  path: '/who-can',
  title: 'Who can',
  role: 'security.read',
  show: ({ query }) => {
    const asked = askedOf(query, ['relation', 'object'])
    return <WhoCan asked={asked} key={JSON.stringify(asked)} />
  },
}

function WhoCan({ asked }: { readonly asked: Asked }) {
  const isAsked = asked['object'] !== undefined && asked['relation'] !== undefined
  return (
    <>
      <Heading title="Who can?" />
      <AskForm path="/who-can" button="List them">
        <Field
          name="relation"
          title="Who has"
          asked={{ relation: 'can_read', ...asked }}
          example="can_read"
          isNeeded
          choices={['can_read', 'viewer', 'owner', 'blocked', 'member', 'writer', 'tagger']}
        />
        <Field name="object" title="Of" asked={asked} example="document:handbook/travel.md" isNeeded />
      </AskForm>
      {isAsked && <FirstPage asked={asked} />}
    </>
  )
}

function FirstPage({ asked }: { readonly asked: Asked }) {
  const answer = useAnswer('listed', (api, signal) => api.post<Page>('/who-can', asked, signal))
  return (
    <AskedFor answer={answer} what="the people">
      {(first) => <Pages first={first} asked={asked} />}
    </AskedFor>
  )
}

function Pages({ first, asked }: { readonly first: Page; readonly asked: Asked }) {
  const { api } = useConsole()
  const [pages, setPages] = useState<readonly Page[]>([first])
  const [problem, setProblem] = useState<Problem>()
  const [isAsking, setAsking] = useState(false)
  const last = pages.at(-1) ?? first
  const subjects = pages.flatMap((page) => page.subjects)

  async function more(): Promise<void> {
    setAsking(true)
    setProblem(undefined)
    try {
      const next = await api.post<Page>('/who-can', { ...asked, cursor: last.cursor })
      setPages([...pages, next])
    } catch (thrown) {
      setProblem(asProblem(thrown))
    } finally {
      setAsking(false)
    }
  }

  return (
    <>
      {subjects.length === 0 ? (
        <p>Nobody that OpenFGA confirms.</p>
      ) : (
        <Table
          caption={`${subjects.length}${last.cursor === null ? '' : ' so far'}, each confirmed by OpenFGA`}
          rows={subjects}
          keyOf={({ user }) => user}
          columns={[
            { title: 'Who', cell: (subject) => <Who {...subject} /> },
            { title: 'How', cell: ({ via }) => via ?? '' },
            {
              title: 'Why',
              cell: ({ user }) => (
                <Link to={addressWith('/explain', { user, ...asked })}>
                  Explain<span class="unseen"> {user}</span>
                </Link>
              ),
            },
          ]}
        />
      )}
      {problem !== undefined && <ProblemBox problem={problem} />}
      {last.cursor !== null && (
        <p>
          <button type="button" disabled={isAsking} onClick={() => void more()}>
            More
          </button>
        </p>
      )}
      {pages.some(({ complete }) => !complete) && (
        <p class="warn" role="status">
          Somebody may be missing from this list.
        </p>
      )}
      <ReplicaNote replica={last.replica} />
      <p class="soft">
        On record as <code>{last.txn}</code>
      </p>
    </>
  )
}

const Who = ({ kind, user }: Pick<Subject, 'kind' | 'user'>) =>
  kind === 'everyone' ? (
    <strong>everyone</strong>
  ) : (
    <>
      <code>{user}</code>
      {kind === 'excluded' && <span class="tag bad">left out of everyone</span>}
    </>
  )
