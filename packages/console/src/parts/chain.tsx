import { Id } from './id.tsx'

/** The agents through which something went, outermost first; whoever asked themselves, by their program. */
export const Chain = ({
  actors,
  client,
  names,
}: {
  readonly actors: readonly string[]
  readonly client: string
  readonly names: Readonly<Record<string, string>>
}) =>
  actors.length === 0 ? (
    <span class="soft">{names[client] ?? client}</span>
  ) : (
    <ul class="plain">
      {actors.map((actor) => (
        <li key={actor}>
          <Id id={actor} name={names[actor]} />
        </li>
      ))}
    </ul>
  )
