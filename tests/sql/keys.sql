-- Keys of every type: the same value, however it is written, finds the same rows.
SELECT * FROM k_int2 WHERE customer_id = 3;
SELECT * FROM k_int2 WHERE customer_id = 3::int2;
SELECT * FROM k_int2 WHERE customer_id = 3::int8;
SELECT * FROM k_int2 WHERE customer_id = '3';
SELECT * FROM k_int2 WHERE customer_id = 40000;
SELECT * FROM k_int2 WHERE customer_id = '40000';
SELECT * FROM k_int2 WHERE customer_id IN (1, 70000);
-- parameters 3
SELECT * FROM k_int2 WHERE customer_id = $1;
-- parameters 40000
SELECT * FROM k_int2 WHERE customer_id = $1;
SELECT * FROM k_int4 WHERE customer_id = -3;
SELECT * FROM k_int4 WHERE customer_id = '-3';
SELECT * FROM k_int4 WHERE customer_id = -3::int8;
SELECT * FROM k_int4 WHERE customer_id = 99999999999;
-- parameters -3
SELECT * FROM k_int4 WHERE customer_id = $1;
-- parameters  -3
SELECT * FROM k_int4 WHERE customer_id = $1::int8;
-- parameters 3
SELECT * FROM lineitem WHERE l_orderkey = $1;

SELECT * FROM k_text WHERE customer_id = 'key 3';
SELECT * FROM k_text WHERE customer_id = '';
SELECT * FROM k_text WHERE customer_id = '12345';
SELECT * FROM k_text WHERE customer_id = 12345;
SELECT * FROM k_text WHERE customer_id = 'grün';
SELECT * FROM k_text WHERE customer_id = E'gr\u00fcn';
SELECT * FROM k_text WHERE customer_id = U&'gr\00fcn';
SELECT * FROM k_text WHERE customer_id = $q$grün$q$;
SELECT * FROM k_text WHERE customer_id = 'key ' '3';
SELECT * FROM k_text WHERE customer_id = 'key '
 '3';
SELECT * FROM k_text WHERE customer_id = 'key 3'::text;
SELECT * FROM k_text WHERE customer_id = 'key 3'::varchar;
SELECT * FROM k_text WHERE customer_id = 'key 3  '::char(9);
SELECT * FROM k_text WHERE customer_id = 'key 3xxxx'::varchar(5);
SELECT * FROM k_text WHERE customer_id = 'key 3'::name;
SELECT * FROM k_text WHERE customer_id = 'key ' || '3';
SELECT * FROM k_text WHERE lower(customer_id) = 'key 3';
SELECT * FROM k_text WHERE customer_id LIKE 'key 3';
SELECT * FROM k_text WHERE customer_id COLLATE "C" = 'key 3';
SELECT * FROM k_text WHERE customer_id::varchar = 'key 3';
-- parameters key 3
SELECT * FROM k_text WHERE customer_id = $1;
-- parameters grün
SELECT * FROM k_text WHERE customer_id = $1;
-- parameters {"key 3","key 4",nothing}
SELECT * FROM k_text WHERE customer_id = ANY ($1);

SELECT * FROM k_varchar WHERE customer_id = '3';
SELECT * FROM k_varchar WHERE customer_id = '03';
SELECT * FROM k_varchar WHERE customer_id = 3;
SELECT * FROM k_varchar WHERE customer_id = '3'::text;
SELECT * FROM k_varchar WHERE customer_id = '3'::varchar(12);
SELECT * FROM k_varchar WHERE customer_id = '12345'::varchar(1);
SELECT * FROM k_varchar WHERE customer_id = '3'::char(3);
-- parameters 3
SELECT * FROM k_varchar WHERE customer_id = $1;
SELECT * FROM k_varchar WHERE customer_id IN ('3', '4');

SELECT * FROM k_char WHERE customer_id = 'c3';
SELECT * FROM k_char WHERE customer_id = 'c3      ';
SELECT * FROM k_char WHERE customer_id = 'c3              ';
SELECT * FROM k_char WHERE customer_id = 'c3'::char(8);
SELECT * FROM k_char WHERE customer_id = 'c3'::char(20);
SELECT * FROM k_char WHERE customer_id = 'c3'::text;
SELECT * FROM k_char WHERE customer_id = 'c3 '::text;
SELECT * FROM k_char WHERE customer_id = 'c3 '::varchar;
SELECT * FROM k_char WHERE customer_id::text = 'c3';
SELECT * FROM k_char WHERE customer_id = 'c34'::char(2);
-- parameters c3
SELECT * FROM k_char WHERE customer_id = $1;
-- parameters c3
SELECT * FROM k_char WHERE customer_id = $1::char(8);
-- parameters c3
SELECT * FROM k_char WHERE customer_id = $1::text;

SELECT * FROM k_uuid WHERE customer_id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380003';
SELECT * FROM k_uuid WHERE customer_id = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380003';
SELECT * FROM k_uuid WHERE customer_id = '{a0eebc999c0b4ef8bb6d6bb9bd380003}';
SELECT * FROM k_uuid WHERE customer_id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380003'::uuid;
SELECT * FROM k_uuid WHERE customer_id = uuid 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380003';
SELECT * FROM k_uuid WHERE customer_id = 'no uuid';
SELECT * FROM k_uuid WHERE customer_id = '';
SELECT * FROM k_uuid WHERE customer_id::text = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380003';
-- parameters a0eebc999c0b4ef8bb6d6bb9bd380003
SELECT * FROM k_uuid WHERE customer_id = $1;

-- Written and found again, whatever the spelling.
INSERT INTO k_text VALUES (E'tab\there', 100), ('tab	here', 101);
SELECT v FROM k_text WHERE customer_id = 'tab	here';
INSERT INTO k_char VALUES ('pad', 100);
INSERT INTO k_char VALUES ('pad  ', 101);
SELECT v FROM k_char WHERE customer_id = 'pad';
UPDATE k_char SET v = v + 1 WHERE customer_id = 'pad   ';
INSERT INTO k_varchar VALUES ('x ', 100);
INSERT INTO k_varchar VALUES ('x', 101);
SELECT v FROM k_varchar WHERE customer_id = 'x';
INSERT INTO k_varchar VALUES ('123456789012   ', 102);
SELECT v FROM k_varchar WHERE customer_id = '123456789012';
INSERT INTO k_varchar VALUES ('1234567890123', 103);
INSERT INTO k_char VALUES ('123456789', 103);
INSERT INTO k_char VALUES ('12345678    ', 104);
SELECT v FROM k_char WHERE customer_id = '12345678';
INSERT INTO k_uuid VALUES ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 100);
SELECT v FROM k_uuid WHERE customer_id = '{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}';
INSERT INTO k_int2 VALUES ('7', 100);
INSERT INTO k_int2 VALUES (7, 101);
SELECT v FROM k_int2 WHERE customer_id = 7;
INSERT INTO k_int2 VALUES (70000, 1);
INSERT INTO k_int4 VALUES (-2147483648, 1);
SELECT v FROM k_int4 WHERE customer_id = -2147483648;
INSERT INTO k_int4 VALUES (1.4, 200);
INSERT INTO k_int4 VALUES ('1' || '2', 200);
INSERT INTO k_text VALUES (12345, 200);
DELETE FROM k_uuid WHERE customer_id = 'a0eebc999c0b4ef8bb6d6bb9bd380a11';
