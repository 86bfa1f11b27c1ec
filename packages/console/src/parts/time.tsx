/** A time of the service, in UTC: whoever compares it with a log elsewhere need not reckon. */
export const Time = ({ at, isExact = false }: { readonly at: string; readonly isExact?: boolean }) => (
  <time dateTime={at} title={at}>
    {at.replace('T', ' ').replace(/(?:\.\d{1,9})?Z$/, (end) => (isExact ? end.slice(0, -1).slice(0, 4) : ''))}
  </time>
)
