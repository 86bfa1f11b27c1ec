import { type ComponentChildren, Fragment } from 'preact'
import { agentPath, delegationPath, personPath, planPath, readersPath, recordPath } from '../paths.ts'
import { Link } from '../router.tsx'
import { type Console, useConsole } from '../use-answer.ts'
import { Time } from './time.tsx'

/**
 * Who or what something names, leading on to what is known of it. A name beside the id, never in its place.
 */
export function Id(props: {
  readonly id: string
  readonly name?: string | undefined
  /** Without its type, where a column's title says that. */
  readonly isShort?: boolean
}) {
  const { id, name, isShort = false } = props
  const { leadsTo } = useConsole()
  const shortId = isShort ? id.replace(/^[^:]*:/, '') : id
  const address = placeOf(id, leadsTo)
  return (
    <>
      {address === undefined ? (
        <code>{broken(shortId)}</code>
      ) : (
        <Link to={address}>
          <code>{broken(shortId)}</code>
        </Link>
      )}
      {name !== undefined && name !== id && <span class="soft"> {name}</span>}
    </>
  )
}

const chunkPattern = /.{1,20}/gsu

/**
 * Where a line may end within it: after what separates, and in what is longer than a column of a table should
 * be.
 */
const broken = (id: string): ComponentChildren =>
  id
    .split(/(?<=[:/])/)
    .flatMap((chunk) => chunk.match(chunkPattern) ?? [])
    .map((chunk, index) => (
      // The parts of an id never change.
      // biome-ignore lint/suspicious/noArrayIndexKey: parts have no other name
      <Fragment key={index}>
        {index > 0 && <wbr />}
        {chunk}
      </Fragment>
    ))

function placeOf(id: string, leadsTo: Console['leadsTo']): string | undefined {
  const [type = '', name = ''] = id.split(/:(.*)/s)
  if (name === '' || name === '*') return undefined
  // Who acts is looked for by other filters than what was acted on.
  if (type === 'agent' && leadsTo('/agents')) return agentPath(name)
  if (type === 'plan' && leadsTo('/model')) return planPath(name)
  if (!leadsTo('/record')) return undefined
  switch (type) {
    case 'user':
      return personPath(id)
    case 'group':
    case 'organization':
      // `group:eng#member`: the group.
      return personPath(id.replace(/#[^#]*$/, ''))
    case 'service':
      return recordPath({ subject: id })
    case 'agent':
      return recordPath({ actor: id })
    case 'document':
      return readersPath(name)
    case 'delegation':
      return delegationPath(name)
    default:
      return recordPath({ object: id.replace(/#[^#]*$/, '') })
  }
}

/** Ids one below the other, under whatever stands before them; of those beyond `max` how many there are. */
export const Ids = (props: {
  readonly ids: readonly string[]
  readonly names?: Readonly<Record<string, string>>
  readonly max?: number
  readonly children?: ComponentChildren
}) => {
  const { ids, names, max = ids.length, children } = props
  return (
    <ul class="plain">
      {children}
      {ids.slice(0, max).map((id) => (
        <li key={id}>
          <Id id={id} name={names?.[id]} />
        </li>
      ))}
      {ids.length > max && <li class="soft">and {ids.length - max} more</li>}
    </ul>
  )
}

/** The agents through which something went, outermost first; whoever asked themselves, by their program. */
export const Chain = (props: {
  readonly actors: readonly string[]
  readonly client: string
  readonly names: Readonly<Record<string, string>>
}) => {
  const { actors, client, names } = props
  return actors.length === 0 ? (
    <span class="soft">{names[client] ?? client}</span>
  ) : (
    <Ids ids={actors} names={names} />
  )
}

/** A stored tuple, each part leading on. */
export function Tuple({ tuple }: { readonly tuple: string }) {
  const [user = '', relation = '', object = '', ...extras] = tuple.split(' ')
  return (
    <span class="tuple">
      <Id id={user} /> <code>{relation}</code> <Id id={object} />
      {extras[0] === 'until' && extras[1] !== undefined && (
        <span class="soft">
          {' '}
          until <Time time={extras[1]} />
        </span>
      )}
    </span>
  )
}
