const styles: Readonly<Record<string, string>> = { allowed: 'tag good', denied: 'tag bad', error: 'tag warn' }

export const Decision = ({ decision }: { readonly decision: string }) =>
  decision === 'none' ? (
    <span class="soft">–</span>
  ) : (
    <span class={styles[decision] ?? 'tag'}>{decision}</span>
  )
