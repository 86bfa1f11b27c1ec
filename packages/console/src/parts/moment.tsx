/** A time to ask for, in UTC as the record is; {@link inUtc} makes of it what the API takes. */
export const Moment = (props: {
  readonly name: string
  readonly title: string
  readonly value?: string | undefined
}) => (
  <label>
    {props.title}
    <input
      type="datetime-local"
      name={props.name}
      value={props.value?.replace(/(:00)?(\.0+)?Z$/, '') ?? ''}
      step={1}
    />
  </label>
)

/** `2026-11-26T04:00`, with or without seconds, as browsers give it. */
export const inUtc = (local: string): string => `${local.length === 16 ? `${local}:00` : local}Z`
