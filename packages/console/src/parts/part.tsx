import type { ComponentChildren } from 'preact'
import { Link } from '../router.tsx'

/** A part of a view, under a heading that its `id` names. */
export const Part = (props: {
  readonly id: string
  readonly title: string
  readonly children: ComponentChildren
}) => (
  <section aria-labelledby={props.id}>
    <h2 id={props.id}>{props.title}</h2>
    {props.children}
  </section>
)

/** One thing that is known, within a `dl`. */
export const Fact = (props: { readonly title: string; readonly children: ComponentChildren }) => (
  <>
    <dt>{props.title}</dt>
    <dd>{props.children}</dd>
  </>
)

/** Where to go on from a view: words, each with the path that they lead to. */
export const Onwards = ({ links }: { readonly links: Readonly<Record<string, string>> }) => (
  <ul class="onwards" aria-label="On from here">
    {Object.entries(links).map(([words, path]) => (
      <li key={words}>
        <Link to={path}>{words}</Link>
      </li>
    ))}
  </ul>
)
