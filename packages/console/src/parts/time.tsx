/** A time of the service, in UTC: whoever compares it with a log elsewhere need not reckon. */
export const Time = ({ time, isExact = false }: { readonly time: string; readonly isExact?: boolean }) => (
  <time dateTime={time} title={time}>
    {time
      .replace('T', ' ')
      .replace(/(?:\.\d{1,9})?Z$/, (ending) => (isExact ? ending.slice(0, -1).slice(0, 4) : ''))}
  </time>
)
