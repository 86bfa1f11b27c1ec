import type { WhoCanPage } from '@remit/contract/explain'
import { Asked as AskedFor } from '../../parts/asked.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Table } from '../../parts/table.tsx'
import { Link } from '../../router.tsx'
import type { Section } from '../../section.ts'
import { useAnswer } from '../../use-answer.ts'
import { type Asked, AskForm, addressWith, askedOf, Field } from './ask-form.tsx'
import { Pages } from './pages.tsx'
import './why.css'

/** `/who-can?relation=…&object=…` */
export const whoCanViews: Section = {
  path: '/who-can',
  title: 'Who can',
  roles: ['security.read'],
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
        <Field name="object" title="Of" asked={asked} example="document:handbook/welcome.md" isNeeded />
      </AskForm>
      {isAsked && <FirstPage asked={asked} />}
    </>
  )
}

function FirstPage({ asked }: { readonly asked: Asked }) {
  const answer = useAnswer('listed', (api, signal) => api.post<WhoCanPage>('/who-can', asked, signal))
  return (
    <AskedFor answer={answer} what="the people">
      {(first) => (
        <Pages first={first} path="/who-can" asked={asked} missing="Somebody may be missing from this list.">
          {(pages, hasMore) => <Listed pages={pages} hasMore={hasMore} asked={asked} />}
        </Pages>
      )}
    </AskedFor>
  )
}

const Listed = ({
  pages,
  hasMore,
  asked,
}: {
  readonly pages: readonly WhoCanPage[]
  readonly hasMore: boolean
  readonly asked: Asked
}) => {
  const subjects = pages.flatMap((page) => page.subjects)
  if (subjects.length === 0) return <p>Nobody that OpenFGA confirms.</p>
  return (
    <Table
      caption={`${subjects.length}${hasMore ? ' so far' : ''}, each confirmed by OpenFGA`}
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
  )
}

const Who = ({ kind, user }: Pick<WhoCanPage['subjects'][number], 'kind' | 'user'>) =>
  kind === 'everyone' ? (
    <strong>everyone</strong>
  ) : (
    <>
      <Id id={user} /> {kind === 'excluded' && <span class="tag bad">left out of everyone</span>}
    </>
  )
