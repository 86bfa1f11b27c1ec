import type { ComponentChildren } from 'preact'
import { go, withQuery } from '../router.tsx'

/** What a question is made of: the fields of its form, and the members of its address. */
export type Inputs = Readonly<Record<string, string>>

/**
 * `agent:research-bot`, as the record and tuples have it, is the agent `research-bot` to whoever is asked.
 */
export const agentId = (written: string): string => written.replace(/^agent:/, '')

/** The named fields of an address that say something. */
export const inputsOf = (query: URLSearchParams, names: readonly string[]): Inputs =>
  Object.fromEntries(
    names.flatMap((name) => {
      const written = query.get(name)?.trim() ?? ''
      const value = name === 'agent' ? agentId(written) : written
      return value === '' ? [] : [[name, value]]
    }),
  )

/**
 * A form that leaves the page where it is; its fields as they were written, without spaces around, times in
 * UTC.
 */
export function Form(props: {
  readonly class?: string
  /** Said of a form to search with. */
  readonly searches?: string
  readonly onSubmit: (fields: Inputs) => void
  readonly children: ComponentChildren
}) {
  const { searches, onSubmit, children } = props
  return (
    <form
      class={props.class}
      role={searches === undefined ? undefined : 'search'}
      aria-label={searches}
      onSubmit={(event) => {
        event.preventDefault()
        onSubmit(fieldsOf(event.currentTarget))
      }}
    >
      {children}
    </form>
  )
}

function fieldsOf(form: HTMLFormElement): Inputs {
  const isTime = (name: string): boolean => {
    const field = form.elements.namedItem(name)
    return field instanceof HTMLInputElement && field.type === 'datetime-local'
  }
  const fields = [...new FormData(form)].map(([name, value]) => {
    const written = String(value).trim()
    return [name, written !== '' && isTime(name) ? inUtc(written) : written]
  })
  return Object.fromEntries(fields)
}

/** `2026-11-26T04:00`, with or without seconds, as browsers give it. */
const inUtc = (local: string): string => `${local.length === 16 ? `${local}:00` : local}Z`

/** A question as a form: putting it is going to its address, which can be kept, sent and gone back to. */
export const AskForm = (props: {
  readonly path: string
  readonly button: string
  readonly children: ComponentChildren
}) => (
  <Form class="line wide" onSubmit={(fields) => go(withQuery(props.path, fields))}>
    {props.children}
    <button type="submit" class="main">
      {props.button}
    </button>
  </Form>
)

/** One text field of a form. */
export function Field(props: {
  readonly name: string
  readonly title: string
  readonly hint?: string
  readonly inputs?: Inputs
  readonly example: string
  readonly isNeeded?: boolean
  readonly choices?: readonly string[]
}) {
  const { name, title, hint, inputs = {}, example, isNeeded = false, choices } = props
  return (
    <label>
      {title} {hint !== undefined && <small class="soft">{hint}</small>}
      <input
        type="text"
        name={name}
        defaultValue={inputs[name] ?? ''}
        placeholder={example}
        required={isNeeded}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        list={choices === undefined ? undefined : `${name}-choices`}
      />
      {choices !== undefined && (
        <datalist id={`${name}-choices`}>
          {choices.map((choice) => (
            <option key={choice} value={choice} />
          ))}
        </datalist>
      )}
    </label>
  )
}

/** Text of several lines. */
export const Lines = (props: {
  readonly title: string
  readonly hint: string
  readonly rows: number
  readonly text: string
  readonly onInput: (text: string) => void
}) => (
  <label>
    {props.title} <small class="soft">{props.hint}</small>
    <textarea
      rows={props.rows}
      spellcheck={false}
      value={props.text}
      onInput={({ currentTarget }) => props.onInput(currentTarget.value)}
    />
  </label>
)

/** One of some choices, or any. */
export const Choice = (props: {
  readonly name: string
  readonly title: string
  readonly inputs: Inputs
  readonly choices: readonly string[]
  /** What a choice is called, where that is not its name. */
  readonly titles?: Readonly<Record<string, string>>
}) => (
  <label>
    {props.title}
    <select name={props.name}>
      <option value="">any</option>
      {props.choices.map((choice) => (
        <option key={choice} value={choice} selected={choice === props.inputs[props.name]}>
          {props.titles?.[choice] ?? choice}
        </option>
      ))}
    </select>
  </label>
)

/** From when to when, in UTC as the record is. */
export const Period = ({ inputs }: { readonly inputs: Inputs }) => (
  <>
    <Moment name="since" title="From (UTC)" inputs={inputs} />
    <Moment name="until" title="Before (UTC)" inputs={inputs} />
  </>
)

const Moment = (props: { readonly name: string; readonly title: string; readonly inputs: Inputs }) => (
  <label>
    {props.title}
    <input
      type="datetime-local"
      name={props.name}
      value={props.inputs[props.name]?.replace(/(:00)?(\.0+)?Z$/, '') ?? ''}
      step={1}
    />
  </label>
)
