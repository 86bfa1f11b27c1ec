import { counted } from '../../parts/counted.ts'
import type { Change, Side } from './wire.ts'

/** Who gains and who loses, by themselves and through agents. */
export function Effect(props: { readonly canRead: Change; readonly delegated: Change }) {
  const { canRead, delegated } = props
  return (
    <div class="effect">
      <OneSide title="People gain" side={canRead.gained} />
      <OneSide title="People lose" side={canRead.lost} />
      <OneSide title="Agents gain" side={delegated.gained} />
      <OneSide title="Agents lose" side={delegated.lost} />
    </div>
  )
}

function OneSide({ title, side }: { readonly title: string; readonly side: Side }) {
  const { count, people, documents, samples } = side
  return (
    <section class={count === 0 ? 'soft' : undefined}>
      <h3>{title}</h3>
      <p class="count">
        <strong>{count}</strong> {count === 0 ? '' : `· ${people} of them, ${counted(documents, 'document')}`}
      </p>
      {samples.length > 0 && (
        <ul>
          {samples.map(({ who, document_id: document }) => (
            <li key={`${who} ${document}`}>
              {who}: <code>{document}</code>
            </li>
          ))}
        </ul>
      )}
      {samples.length < count && <p class="soft">{count - samples.length} more</p>}
    </section>
  )
}
