import type { WhoCanPage } from '@remit/contract/explain'
import { AsyncAnswer as AskedFor } from '../../parts/async-answer.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Table } from '../../parts/table.tsx'
import { Link } from '../../router.tsx'
import type { Section } from '../../section.ts'
import { useAnswer } from '../../use-answer.ts'
import { AskForm, addressWith, Field, type Inputs, inputsOf } from './ask-form.tsx'
import { Pages } from './pages.tsx'
import './why.css'

/** `/who-can?relation=…&object=…` */
export const whoCanViews: Section = {
  path: '/who-can',
  title: 'Who can',
  roles: ['security.read'],
  show: ({ query }) => {
    const inputs = inputsOf(query, ['relation', 'object'])
    return <WhoCan inputs={inputs} key={JSON.stringify(inputs)} />
  },
}

function WhoCan({ inputs }: { readonly inputs: Inputs }) {
  const isAsked = inputs['object'] !== undefined && inputs['relation'] !== undefined
  return (
    <>
      <Heading title="Who can?" />
      <AskForm path="/who-can" button="List them">
        <Field
          name="relation"
          title="Who has"
          inputs={{ relation: 'can_read', ...inputs }}
          example="can_read"
          isNeeded
          choices={['can_read', 'viewer', 'owner', 'blocked', 'member', 'writer', 'tagger']}
        />
        <Field name="object" title="Of" inputs={inputs} example="document:handbook/welcome.md" isNeeded />
      </AskForm>
      {isAsked && <FirstPage inputs={inputs} />}
    </>
  )
}

function FirstPage({ inputs }: { readonly inputs: Inputs }) {
  const answer = useAnswer('listed', (api, signal) => api.post<WhoCanPage>('/who-can', inputs, signal))
  return (
    <AskedFor answer={answer} subject="the people">
      {(firstPage) => (
        <Pages
          first={firstPage}
          path="/who-can"
          asked={inputs}
          missing="Somebody may be missing from this list."
        >
          {(pages, hasMore) => <Listed pages={pages} hasMore={hasMore} asked={inputs} />}
        </Pages>
      )}
    </AskedFor>
  )
}

const Listed = ({
  pages,
  hasMore,
  asked: inputs,
}: {
  readonly pages: readonly WhoCanPage[]
  readonly hasMore: boolean
  readonly asked: Inputs
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
            <Link to={addressWith('/explain', { user, ...inputs })}>
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
