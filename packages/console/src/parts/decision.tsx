const styles: Readonly<Record<string, string>> = { allowed: 'tag good', denied: 'tag bad', error: 'tag warn' }

/** A decision of the record as a tag; `none` is a dash. */
export const Decision = ({ decision }: { readonly decision: string }) =>
  decision === 'none' ? (
    <span class="soft">–</span>
  ) : (
    <span class={styles[decision] ?? 'tag'}>{decision}</span>
  )
