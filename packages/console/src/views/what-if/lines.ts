import { agentId } from '../why/ask-form.tsx'

/** One tuple that a what-if writes or deletes. */
export interface Line {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly condition?: { readonly name: 'until'; readonly context: { readonly expires_at: string } }
}

/** `user:anne member group:finance`, or `… until 2027-01-01T00:00:00Z`, one a line. A line that is neither comes back. */
export function readLines(text: string): {
  readonly lines: readonly Line[]
  readonly wrong: string | undefined
} {
  const lines: Line[] = []
  for (const written of text.split('\n').map((line) => line.trim())) {
    if (written === '') continue
    const [user, relation, object, condition, expires_at, ...extras] = written.split(/\s+/)
    const isWhole =
      user !== undefined && relation !== undefined && object !== undefined && extras.length === 0
    const isTimed = condition === 'until' && expires_at !== undefined
    if (!isWhole || (condition !== undefined && !isTimed)) return { lines, wrong: written }
    lines.push({
      user,
      relation,
      object,
      ...(isTimed && { condition: { name: 'until', context: { expires_at } } }),
    })
  }
  return { lines, wrong: undefined }
}

/** What people wonder about most, as the tuples that it comes down to. */
export interface Preset {
  readonly title: string
  readonly fields: readonly { readonly name: string; readonly title: string; readonly example: string }[]
  readonly lines: (values: Readonly<Record<string, string>>) => {
    readonly writes?: readonly string[]
    readonly deletes?: readonly string[]
  }
}

/** Changes that a form can fill in. */
export const presets: readonly Preset[] = [
  {
    title: 'Take somebody out of a group',
    fields: [
      { name: 'user', title: 'Who', example: 'user:anne' },
      { name: 'group', title: 'Group', example: 'group:finance' },
    ],
    lines: ({ user, group }) => ({ deletes: [`${user} member ${group}`] }),
  },
  {
    title: 'Lend something to an agent',
    fields: [
      { name: 'user', title: 'Who lends', example: 'user:anne' },
      { name: 'object', title: 'What', example: 'collection:handbook' },
      { name: 'agent', title: 'To agent', example: 'research-bot' },
    ],
    lines: ({ user, object, agent }) => ({
      writes: [
        `${user} delegator delegation:supposed until 2999-01-01T00:00:00Z`,
        `agent:${agentId(agent ?? '')} agent delegation:supposed`,
        `delegation:supposed delegated_to ${object}`,
      ],
    }),
  },
  {
    title: 'Mark something sensitive',
    fields: [{ name: 'object', title: 'What', example: 'folder:customers/pricing' }],
    lines: ({ object }) => ({ writes: [`user:* sensitive ${object}`] }),
  },
]
