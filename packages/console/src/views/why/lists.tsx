import type { NotHere, ViewAsPage, WhoCanPage } from '@remit/contract/explain'
import type { ComponentChildren } from 'preact'
import { Asked } from '../../parts/async-answer.tsx'
import { AskForm, Field, type Inputs } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { Table } from '../../parts/table.tsx'
import { usePages } from '../../parts/use-pages.tsx'
import { Link, withQuery } from '../../router.tsx'
import { DelegationField } from '../delegations/field.tsx'
import { ReplicaNote } from './explain.tsx'

/** What every page of such a list has. */
type Page = Pick<WhoCanPage, keyof NotHere | 'cursor' | 'complete' | 'replica' | 'txn'>

interface Question<P extends Page> {
  readonly path: string
  readonly inputs: Inputs
  /** Said where `complete` is false. */
  readonly missing: string
  /** What stands above all, whatever the list holds. */
  readonly above?: (firstPage: P) => ComponentChildren
  readonly children: (pages: readonly P[], hasMore: boolean) => ComponentChildren
}

/** `/who-can?relation=…&object=…` */
export const WhoCan = ({ inputs }: { readonly inputs: Inputs }) => (
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
    {inputs['object'] !== undefined && inputs['relation'] !== undefined && (
      <PagedAnswer<WhoCanPage>
        path="/who-can"
        inputs={inputs}
        subject="the people"
        missing="Somebody may be missing from this list."
        above={({ limited_by }) => limited_by !== null && <p class="warn">{limited_by}</p>}
      >
        {(pages, hasMore) => {
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
                { title: 'Why', cell: ({ user }) => <Explain inputs={{ user, ...inputs }} of={user} /> },
              ]}
            />
          )
        }}
      </PagedAnswer>
    )}
  </>
)

const Who = ({ kind, user }: Pick<WhoCanPage['subjects'][number], 'kind' | 'user'>) =>
  kind === 'everyone' ? (
    <strong>everyone</strong>
  ) : (
    <>
      <Id id={user} /> {kind === 'excluded' && <span class="tag bad">left out of everyone</span>}
    </>
  )

/** `/view-as?user=…`, with `agent` and `delegation` for an agent. */
export const ViewAs = ({ inputs }: { readonly inputs: Inputs }) => (
  <>
    <Heading title="What would they be given?" />
    <p class="soft">
      Ids of documents, by what is in force now. It opens none of them to you, and that you looked is on
      record.
    </p>
    <AskForm path="/view-as" button="View as">
      <Field name="user" title="Who" inputs={inputs} example="user:anne" isNeeded />
      <Field name="agent" title="Through agent" inputs={inputs} example="themselves" />
      <DelegationField chosen={inputs['delegation']} hint="that was lent" />
      <Field name="collection" title="Only in" inputs={inputs} example="any collection" />
    </AskForm>
    {inputs['user'] !== undefined && (
      <PagedAnswer<ViewAsPage>
        path="/view-as"
        inputs={inputs}
        subject="their documents"
        missing="Something may be missing from this list."
        above={({ limited_by }) => limited_by !== null && <p class="warn">{limited_by}</p>}
      >
        {(pages, hasMore) => <Viewed pages={pages} hasMore={hasMore} asked={inputs} />}
      </PagedAnswer>
    )}
  </>
)

function Viewed(props: {
  readonly pages: readonly ViewAsPage[]
  readonly hasMore: boolean
  readonly asked: Inputs
}) {
  const { pages, hasMore, asked: inputs } = props
  const documents = pages.flatMap((page) => page.documents)
  const { collection: _, ...viewer } = inputs
  const relation = viewer['agent'] === undefined ? 'can_read' : 'can_read_delegated'
  if (documents.length === 0)
    return <p>{hasMore ? 'Nothing so far that OpenFGA confirms.' : 'Nothing that OpenFGA confirms.'}</p>
  return (
    <Table
      caption={`${documents.length}${hasMore ? ' so far' : ''}, each confirmed by OpenFGA`}
      rows={documents}
      keyOf={(document) => document.document_id}
      columns={[
        { title: 'Document', cell: ({ document_id: id }) => <Id id={`document:${id}`} isShort /> },
        { title: 'Filed in', cell: ({ collection }) => collection },
        { title: 'How', cell: ({ via }) => via ?? '' },
        {
          title: 'Why',
          cell: ({ document_id: id }) => (
            <Explain inputs={{ ...viewer, relation, object: `document:${id}` }} of={id} />
          ),
        },
      ]}
    />
  )
}

const Explain = (props: { readonly inputs: Inputs; readonly of: string }) => (
  <Link to={withQuery('/explain', props.inputs)}>
    Explain<span class="unseen"> {props.of}</span>
  </Link>
)

/**
 * A question that a list answers, in pages: those so far, the way to the next, and what is to be known of
 * them.
 */
export const PagedAnswer = <P extends Page>(props: Question<P> & { readonly subject: string }) => (
  <Asked<P> path={props.path} body={props.inputs} subject={props.subject}>
    {(firstPage) => <Pages {...props} first={firstPage} />}
  </Asked>
)

function Pages<P extends Page>(props: Question<P> & { readonly first: P }) {
  const { first: firstPage, path, inputs, missing, above, children } = props
  const { pages, lastPage, hasMore, problem, button } = usePages({
    first: firstPage,
    cursorOf: (page) => page.cursor,
    ask: (api, cursor) => api.post<P>(path, { ...inputs, cursor }),
    more: 'More',
  })
  return (
    <>
      {above?.(firstPage)}
      {firstPage.never_here.length > 0 ? <NeverHere of={firstPage} /> : children(pages, hasMore)}
      {problem}
      {hasMore && <p>{button}</p>}
      {pages.some(({ complete: isComplete }) => !isComplete) && (
        <p class="warn" role="status">
          {missing}
        </p>
      )}
      <ReplicaNote replica={lastPage.replica} />
      <p class="soft">
        On record as <code>{lastPage.txn}</code>
      </p>
    </>
  )
}
