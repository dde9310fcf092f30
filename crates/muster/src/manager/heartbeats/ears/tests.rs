//! What the kernel says of datagrams that it dropped.

use super::*;

#[test]
fn drops_of_one_port_are_added_up() {
    let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             
  100: 0100007F:714A 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1234 2 0000000000000000 17        
  101: 00000000:714A 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1235 2 0000000000000000 4         
  102: 00000000:714B 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1236 2 0000000000000000 900       
";
    assert_eq!(drops_in(table, 29_002), 21);
    assert_eq!(drops_in(table, 29_003), 900);
    assert_eq!(drops_in(table, 80), 0);
    assert_eq!(drops_in("", 80), 0);
}
