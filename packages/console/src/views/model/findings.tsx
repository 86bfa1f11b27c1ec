import type { Finding } from '@remit/contract/model'

/** What the rules found in a model, as a list; nothing where they found nothing. */
export const Findings = (props: {
  readonly title: string
  readonly kind: string
  readonly found: readonly Finding[]
}) =>
  props.found.length === 0 ? null : (
    <section class={props.kind}>
      <h3>{props.title}</h3>
      <ul>
        {props.found.map(({ rule, relation, detail }) => (
          <li key={`${rule} ${relation} ${detail}`}>
            {relation !== '' && <code>{relation}</code>} {detail}
          </li>
        ))}
      </ul>
    </section>
  )
