import type { ComponentChildren } from 'preact'
import { inUtc } from '../../parts/moment.tsx'
import { go } from '../../router.tsx'

/** What a question is made of: the fields of its form, and the members of its address. */
export type Inputs = Readonly<Record<string, string>>

/** `agent:research-bot`, as the record and tuples have it, is the agent `research-bot` to whoever is asked. */
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

/** The path of a question with its inputs. */
export const addressWith = (path: string, inputs: Inputs): string => `${path}?${new URLSearchParams(inputs)}`

/** A question as a form: putting it is going to its address, which can be kept, sent and gone back to. */
export function AskForm(props: {
  readonly path: string
  readonly button: string
  readonly children: ComponentChildren
}) {
  const { path, button, children } = props
  return (
    <form
      class="line wide"
      onSubmit={(event) => {
        event.preventDefault()
        const { elements } = event.currentTarget
        const isTime = (name: string): boolean => {
          const field = elements.namedItem(name)
          return field instanceof HTMLInputElement && field.type === 'datetime-local'
        }
        const fields = [...new FormData(event.currentTarget)].flatMap(([name, value]) =>
          typeof value === 'string' && value.trim() !== ''
            ? [[name, isTime(name) ? inUtc(value) : value.trim()] as const]
            : [],
        )
        go(addressWith(path, Object.fromEntries(fields)))
      }}
    >
      {children}
      <button type="submit" class="main">
        {button}
      </button>
    </form>
  )
}

/** One text field of a question's form. */
export function Field(props: {
  readonly name: string
  readonly title: string
  readonly hint?: string
  readonly inputs: Inputs
  readonly example: string
  readonly isNeeded?: boolean
  readonly choices?: readonly string[]
}) {
  const { name, title, hint, inputs, example, isNeeded = false, choices } = props
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
